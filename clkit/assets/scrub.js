// The accuracy matrix while it fills: the reader picks the scenario and the way of training and moves through the updates.
kit.interactive("scrub", {
  compute: function (s) {  // curve[replica][point][task], updates[point], ends[task], at: a point, t: Student's for 95 %
    var now = s.updates[s.at], tasks = s.ends.length, n = s.curve.length, over = 0, begun = 0;
    s.ends.forEach(function (end, j) {
      if (now >= end) { over = j + 1; }
      if (now > (j ? s.ends[j - 1] : 0)) { begun = j + 1; }
    });
    function point(i) { return i === 0 ? 0 : s.updates.indexOf(s.ends[i - 1]); }  // row i: where task i was over
    function interval(values) {  // mean and half of the interval over the replicas
      var m = values.reduce(function (a, b) { return a + b; }, 0) / n;
      var squares = values.reduce(function (a, b) { return a + (b - m) * (b - m); }, 0);
      return { mean: m, half: n > 1 ? s.t * Math.sqrt(squares / (n - 1) / n) : 0 };
    }
    function over_replicas(f) { return interval(s.curve.map(f)); }
    function mean(numbers) { return numbers.reduce(function (a, b) { return a + b; }, 0) / numbers.length; }
    function first(count) { return Array.from({ length: count }, function (_, j) { return j; }); }
    function row(at) { return s.ends.map(function (_, j) { return over_replicas(function (c) { return c[at][j]; }).mean; }); }
    // As if the run ended now: the last row is the present one, and the tasks are those that have begun.
    var earlier = first(Math.max(0, begun - 1));
    function best(c, j) { return Math.max.apply(null, earlier.slice(j).map(function (i) { return c[point(i + 1)][j]; })); }
    var average = !begun ? null : over_replicas(function (c) { return mean(first(begun).map(function (j) { return c[s.at][j]; })); });
    var forgetting = !earlier.length ? null : over_replicas(function (c) {
      return mean(earlier.map(function (j) { return best(c, j) - c[s.at][j]; }));
    });
    var backward = !earlier.length ? null : over_replicas(function (c) {
      return mean(earlier.map(function (j) { return c[s.at][j] - c[point(j + 1)][j]; }));
    });
    function number(value) { return (100 * value).toFixed(1).replace(/^-(?=.*[1-9])/, "\u2212").replace("-", ""); }
    function words(value, unit) {
      return value === null ? "none yet" : number(value.mean) + " \u00b1 " + number(value.half) + unit;
    }
    return {
      over: over, begun: begun, now: row(s.at),
      matrix: first(tasks + 1).map(function (i) { return i <= over ? row(point(i)) : null; }),
      average: average, forgetting: forgetting, backward: backward,
      words: [words(average, " %"), words(forgetting, ""), words(backward, "")]
    };
  },
  start: function (root, data, compute) {
    var DASHES = ["none", "7 3", "2 3", "10 3 2 3", "5 2"], tasks = data.ends.length, timer = null;
    var controls = kit.element(root, "div");
    var scenario = kit.choice(controls, { legend: "What is asked at the test", labels: data.scenarios, value: data.scenario }, show);
    var training = kit.choice(controls, { legend: "Training", labels: data.trainings, value: data.training }, show);
    var place = kit.slider(controls, {
      label: "updates", min: 0, max: data.updates.length - 1, step: 1, value: data.updates.length - 1,
      show: function (at) { return data.updates[at]; }
    }, function () { stop(); show(); });
    var button = kit.element(kit.element(controls, "div", { class: "kit-controls" }), "button", { type: "button" }, "Play");
    var panels = kit.element(root, "div", { class: "kit-panels" });
    kit.key(root, data.ends.map(function (_, j) { return [j, DASHES[j], "task " + (j + 1)]; }));
    var write = kit.readout(root, ["average accuracy", "forgetting, points", "backward transfer, points"]);
    function stop() { clearInterval(timer); timer = null; button.textContent = "Play"; }
    button.addEventListener("click", function () {
      if (timer) { return stop(); }
      if (place.get() >= data.updates.length - 1) { place.set(0); show(); }
      button.textContent = "Pause";
      timer = setInterval(function () {
        place.set(place.get() + 1);
        show();
        if (place.get() >= data.updates.length - 1) { stop(); }
      }, 150);
    });
    function number(value) { return (100 * value).toFixed(0).replace("-", "\u2212").replace("\u22120", "0"); }
    function matrix(found) {
      var rows = found.matrix.map(function (values, i) { return [String(i), values]; }).concat([["now", found.now]]);
      var side = 50, height = 30, left = 62, top = 44, width = left + tasks * side + 4;
      var frame = kit.element(kit.element(panels, "div", { class: "kit-panel" }), "div", { class: "kit-drawing" });
      var label = "Accuracy matrix in percent. " + rows.filter(function (r) { return r[1]; }).map(function (r) {
        return (r[0] === "now" ? "Now: " : "After " + r[0] + " tasks: ") + r[1].map(number).join(", ");
      }).join(". ");
      var svg = kit.svg(frame, "svg", { viewBox: "0 0 " + width + " " + (top + rows.length * height + 12), role: "img", "aria-label": label });
      function words(x, y, what, more) {
        kit.svg(svg, "text", Object.assign({ x: x, y: y, "text-anchor": "middle", class: "kit-words" }, more), what);
      }
      words(left + tasks * side / 2, 14, "tested on task", {});
      rows.forEach(function (r, i) {
        var y = top + i * height + (r[0] === "now" ? 12 : 0);
        words(left - 10, y + 20, r[0] === "now" ? "now" : "after " + r[0], { "text-anchor": "end" });
        for (var j = 0; j < tasks; j++) {
          var x = left + j * side, value = r[1] ? r[1][j] : null;
          kit.svg(svg, "rect", {
            x: x + 1, y: y + 1, width: side - 2, height: height - 2, rx: 3, fill: kit.colour(0),
            "fill-opacity": value === null ? 0 : 0.45 * value, stroke: kit.colour(0), "stroke-opacity": value === null ? 0.25 : 0.6,
            "stroke-dasharray": value === null ? "2 3" : "none"
          });
          if (value !== null) { words(x + side / 2, y + 20, number(value), {}); }
        }
      });
      for (var j = 0; j < tasks; j++) { words(left + (j + 0.5) * side, 38, String(j + 1), {}); }
    }
    function lines(s, found) {
      var last = data.updates.length - 1, box = kit.element(panels, "div", { class: "kit-panel" });
      var p = kit.plot(box, {
        x: [0, data.updates[last]], y: [0, 100], width: 400, height: 290, xlabel: "updates", ylabel: "accuracy (%)",
        label: "Accuracy at update " + data.updates[s.at] + ": "
          + found.now.map(function (v, j) { return "task " + (j + 1) + " " + number(v) + " %"; }).join(", ")
      });
      data.ends.slice(0, -1).forEach(function (end) {
        p.line(p.layer(), [[end, 0], [end, 100]], { class: "kit-mark" });
      });
      found.now.forEach(function (_, j) {
        var points = data.updates.slice(0, s.at + 1).map(function (u, at) {
          return [u, 100 * s.curve.reduce(function (a, c) { return a + c[at][j]; }, 0) / s.curve.length];
        });
        p.line(p.layer(), points, { stroke: kit.colour(j), "stroke-width": 2, "stroke-dasharray": DASHES[j] });
      });
      p.line(p.layer(), [[data.updates[s.at], 0], [data.updates[s.at], 100]], { class: "kit-cursor" });
    }
    function show() {
      var s = {
        curve: data.curves[scenario.get()][training.get()], updates: data.updates, ends: data.ends, at: place.get(), t: data.t
      };
      var found = compute(s);
      panels.textContent = "";
      matrix(found);
      lines(s, found);
      write(found.words);
    }
    show();
  }
});
