// What can be skipped: the reader sets the residual below which an example is skipped, and how long the network has
// trained, and sees how many examples that is, and how much of the summed residual they hold.
kit.interactive("skipping", {
  compute: function (s) {  // residuals, threshold, measured thresholds
    var total = 0, lost = 0, count = 0, nearest = 0;
    s.residuals.forEach(function (r) {
      total += r;
      if (r < s.threshold) { count += 1; lost += r; }
    });
    s.thresholds.forEach(function (t, i) {
      if (Math.abs(t - s.threshold) < Math.abs(s.thresholds[nearest] - s.threshold) - 1e-12) { nearest = i; }
    });
    var n = s.residuals.length, skipped = count / n, held = total > 0 ? lost / total : 0;
    function percent(share, rest) {  // rest: how many are missing to all
      var rounded = Math.round(100 * share), shown = rounded;
      if (rounded === 100 && rest) { shown = "> 99"; }
      if (rounded === 0 && share > 0) { shown = "< 1"; }
      return shown + "\u00a0%";
    }
    var words = [percent(skipped, n - count), percent(held, n - count)];
    return { skipped: skipped, held: held, nearest: nearest, words: words };
  },
  start: function (root, data, compute) {
    var controls = kit.element(root, "div"), moments = data.moments;
    var threshold = kit.slider(controls, {
      label: "skip where the residual is below", min: 0, max: 1, step: 0.01, value: data.threshold,
      show: function (v) { return v.toFixed(2); }
    }, show);
    var moment = kit.choice(controls, {
      legend: "Trained for",
      labels: moments.map(function (m) { return m + " updates"; }), value: data.moment
    }, show);
    var drawing = kit.element(root, "div");
    kit.key(root, [[0, "none", "skipped (shaded)"], [5, "none", "not skipped"], [1, "7 3", "threshold"]]);
    var write = kit.readout(root, [
      "examples skipped", "share of the residual that the skipped hold",
      "a run with this threshold: backward passes, of plain training", "its test accuracy at the end"
    ]);
    function percent(share, digits) { return (100 * share).toFixed(digits) + "\u00a0%"; }
    function show() {
      var residuals = data.residuals[moment.get()], n = residuals.length, t = threshold.get();
      var found = compute({ residuals: residuals, threshold: t, thresholds: data.thresholds });
      var run = data.runs[found.nearest], measured = data.thresholds[found.nearest], more = "";
      drawing.textContent = "";
      var p = kit.plot(drawing, {
        x: [0, 104], y: [0, 1], height: 270, xlabel: "examples, easiest first (%)", ylabel: "residual",
        label: "Residuals of " + n + " examples after " + moments[moment.get()] + " updates, in order. Below "
          + t.toFixed(2) + ": " + found.words[0] + " of the examples, with " + found.words[1]
          + " of the residual."
      });
      var points = residuals.map(function (r, i) { return [100 * (i + 0.5) / n, r]; });
      var skipped = points.slice(0, Math.round(found.skipped * n));
      if (skipped.length) {
        var end = 100 * skipped.length / n;
        p.line(p.layer(), [[0, 0], [0, 1], [end, 1], [end, 0]], { fill: kit.colour(0), opacity: 0.16 });
      }
      p.line(p.layer(), skipped, { stroke: kit.colour(0), "stroke-width": 2.5 });
      p.line(p.layer(), points.slice(Math.max(0, skipped.length - 1)), { stroke: kit.colour(5), "stroke-width": 2.5 });
      p.line(p.layer(), [[0, t], [100, t]], { stroke: kit.colour(1), "stroke-width": 2, "stroke-dasharray": "7 3" });
      if (Math.abs(measured - t) > 1e-9) { more = " (with " + measured + ", the nearest that was run)"; }
      write([
        found.words[0], found.words[1], percent(run[0], 0) + more,
        percent(run[1], 1) + " [" + (100 * run[2]).toFixed(1) + ", " + (100 * run[3]).toFixed(1) + "]"
      ]);
    }
    show();
  }
});
