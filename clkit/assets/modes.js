// How strongly a linear network answers each mode of its data: the reader sets the singular values, the initial
// strength, the learning rate and the number of layers, and sees the closed form and its half-times.
kit.interactive("modes", {
  compute: function (s) {  // deep: 1 for two layers, 0 for one; strengths [mode][point] at points + 1 equal steps
    function strength(value, t) {
      return s.deep ? value / (1 + (value / s.start - 1) * Math.exp(-2 * value * t))
        : value + (s.start - value) * Math.exp(-t);
    }
    function half(value) {
      return s.deep ? Math.log(value / s.start - 1) / (2 * value) : Math.log(2 * (1 - s.start / value));
    }
    var found = { updates: [], strengths: s.values.map(function () { return []; }), halves: [] };
    for (var n = 0; n <= s.points; n++) {
      var update = s.updates * n / s.points;
      found.updates.push(update);
      s.values.forEach(function (value, k) { found.strengths[k].push(strength(value, s.lr * update)); });
    }
    found.halves = s.values.map(function (value) { return half(value) / s.lr; });
    return found;
  },
  start: function (root, data, compute) {
    var dashes = ["none", "7 3", "2 3", "10 3 2 3"], names = data.names;
    var controls = kit.element(root, "div");
    var layers = kit.choice(controls, { legend: "The network", labels: ["one layer", "two layers"], value: data.deep }, show);
    var start = kit.slider(controls, {
      label: "initial strength", min: -6, max: -1, step: 0.25, value: Math.log10(data.start),
      show: function (power) { return String(+Math.pow(10, power).toPrecision(2)); }
    }, show);
    var lr = kit.slider(controls, { label: "learning rate", min: 0.0005, max: 0.01, step: 0.0005, value: data.lr }, show);
    var values = names.map(function (name, k) {
      return kit.slider(controls, {
        label: "s, " + name, min: 0.5, max: 4.5, step: 0.01, value: data.values[k],
        show: function (value) { return value.toFixed(2); }
      }, show);
    });
    var panel = kit.element(root, "div");
    kit.key(root, names.map(function (name, k) { return [k, dashes[k], name]; }));
    var write = kit.readout(root, names.map(function (name) { return "half-time, " + name; }).concat(["last over first"]));
    function show() {
      var found = compute({
        values: values.map(function (slider) { return slider.get(); }), start: Math.pow(10, start.get()), lr: lr.get(),
        deep: layers.get(), updates: data.updates, points: 200
      });
      var halves = found.halves.map(function (half) {  // a mode that is not half learned on the axis says so
        return Math.round(half) + " updates" + (half > data.updates ? " (beyond the axis)" : "");
      });
      panel.textContent = "";
      var p = kit.plot(panel, {
        x: [0, 1.06 * data.updates], y: [0, 4.6], xlabel: "updates", ylabel: "strength of the mode",
        label: "Strength of each mode against updates. Half-times: " + names.map(function (name, k) {
          return name + " " + halves[k];
        }).join(", ")
      });
      found.strengths.forEach(function (line, k) {
        var points = line.map(function (value, n) { return [found.updates[n], value]; });
        p.line(p.layer(), points, { stroke: kit.colour(k), "stroke-width": 2.5, "stroke-dasharray": dashes[k] });
      });
      var ratio = Math.max.apply(null, found.halves) / Math.min.apply(null, found.halves);
      write(halves.concat([ratio.toFixed(2)]));
    }
    show();
  }
});
