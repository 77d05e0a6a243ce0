// Two clocks on quadratic tasks: the inner loop steps from a start towards one task, the outer loop chose the start.
// The reader drags the tasks and the start and sets the inner loop; the starts that the outer loops choose follow.
kit.interactive("clocks", {
  compute: function (s) {  // task: L(v) = (v - at)' A (v - at) / 2, A with curvature `steep` along `angle`, `flat` across
    function power(value) { return Math.pow(1 - s.lr * value, s.steps); }
    function symmetric(task, f) {  // [[a, b], [b, d]] with the axes of the task, as [a, b, d]
      var c = Math.cos(task.angle * Math.PI / 180), n = Math.sin(task.angle * Math.PI / 180);
      var p = f(task.steep), q = f(task.flat);
      return [p * c * c + q * n * n, (p - q) * c * n, p * n * n + q * c * c];
    }
    function times(m, v) { return [m[0] * v[0] + m[1] * v[1], m[1] * v[0] + m[2] * v[1]]; }
    function optimum(f) {  // where sum_t M_t (w - at_t) = 0, with M = f(A)
      var sum = [0, 0, 0], right = [0, 0];
      s.tasks.forEach(function (task) {
        var m = symmetric(task, f), r = times(m, task.at);
        sum = sum.map(function (value, i) { return value + m[i]; });
        right = [right[0] + r[0], right[1] + r[1]];
      });
      var det = sum[0] * sum[2] - sum[1] * sum[1];
      return [(sum[2] * right[0] - sum[1] * right[1]) / det, (sum[0] * right[1] - sum[1] * right[0]) / det];
    }
    function path(task, start) {
      var d = [start[0] - task.at[0], start[1] - task.at[1]], points = [];
      for (var k = 0; k <= s.steps; k++) {
        var shrink = symmetric(task, function (value) { return Math.pow(1 - s.lr * value, k); }), moved = times(shrink, d);
        points.push([task.at[0] + moved[0], task.at[1] + moved[1]]);
      }
      return points;
    }
    function loss(task, v) {
      var d = [v[0] - task.at[0], v[1] - task.at[1]], g = times(symmetric(task, function (value) { return value; }), d);
      return (d[0] * g[0] + d[1] * g[1]) / 2;
    }
    function ends(start) {  // what the outer loss of MAML is: the mean loss after the inner steps
      var all = s.tasks.map(function (task) { return loss(task, path(task, start)[s.steps]); });
      return all.reduce(function (a, b) { return a + b; }, 0) / all.length;
    }
    var starts = [
      optimum(function (value) { return value; }),                        // joint: A
      optimum(function (value) { return value * power(value) * power(value); }),  // MAML: M A M, M = (1 - lr A)^K
      optimum(function (value) { return value * power(value); })          // first order: A M
    ];
    return {
      starts: starts,
      after: starts.map(ends),
      paths: s.tasks.map(function (task) { return path(task, s.start); }),
      losses: s.tasks.map(function (task) { return path(task, s.start).map(function (v) { return loss(task, v); }); })
    };
  },
  start: function (root, data, compute) {
    var names = ["joint", "MAML", "first order"], text = function (value) { return value.toFixed(3); };
    var tasks = JSON.parse(JSON.stringify(data.tasks)), alike = false, controls = kit.element(root, "div");
    var place = kit.choice(controls, { legend: "The start w", labels: names.concat(["where I put it"]), value: data.method }, show);
    var lr = kit.slider(controls, { label: "inner step size \u03b1", min: 0, max: 0.8, step: 0.05, value: data.lr }, show);
    var steps = kit.slider(controls, { label: "inner steps K", min: 0, max: 5, step: 1, value: data.steps }, show);
    var button = kit.element(controls, "button", { type: "button" }, "Make all ellipses equal");
    var p = kit.plot(kit.element(root, "div"), { x: [-3, 3], y: [-2, 2], xlabel: "first weight", ylabel: "second weight", label: data.alt });
    var layer = p.layer(), fields = kit.element(root, "div"), start;
    var halo = "paint-order: stroke; stroke: var(--pst-color-background, #fff); stroke-width: 4px";
    tasks.forEach(function (task, t) {
      kit.point(p, fields, { label: "task " + (t + 1), at: task.at, colour: t, axes: ["first weight", "second weight"] }, function (at) {
        task.at = at;
        show();
      });
    });
    start = kit.point(p, fields, { label: "start w", at: [0, 0], colour: 5, axes: ["first weight", "second weight"] }, function () {
      place.set(3);
      show();
    });
    var write = kit.readout(root, tasks.map(function (_, t) { return "loss of task " + (t + 1) + ", before and after"; })
      .concat(["mean loss before", "mean loss after"], names.map(function (name) { return "mean after, from " + name; })));
    button.addEventListener("click", function () {
      alike = !alike;
      tasks.forEach(function (task, t) {
        var shape = data.tasks[alike ? 0 : t];
        task.angle = shape.angle; task.steep = shape.steep; task.flat = shape.flat;
      });
      button.textContent = alike ? "Give each its own shape again" : "Make all ellipses equal";
      show();
    });
    function ellipse(task, t, level) {  // where the loss of the task is `level`
      var c = Math.cos(task.angle * Math.PI / 180), n = Math.sin(task.angle * Math.PI / 180), points = [];
      for (var i = 0; i <= 72; i++) {
        var a = Math.sqrt(2 * level / task.steep) * Math.cos(i * Math.PI / 36), b = Math.sqrt(2 * level / task.flat) * Math.sin(i * Math.PI / 36);
        points.push([task.at[0] + a * c - b * n, task.at[1] + a * n + b * c]);
      }
      p.line(layer, points, { stroke: kit.colour(t), "stroke-width": 1, opacity: 0.7 });
    }
    function show() {
      var settings = { tasks: tasks, lr: lr.get(), steps: steps.get(), start: start.get() }, found = compute(settings);
      if (place.get() < 3) {
        start.set(found.starts[place.get()]);
        settings.start = start.get();
        found = compute(settings);
      }
      layer.textContent = "";
      tasks.forEach(function (task, t) {
        [0.03, 0.15].forEach(function (level) { ellipse(task, t, level); });
        p.line(layer, found.paths[t], { stroke: kit.colour(t), "stroke-width": 2.5 });
        found.paths[t].slice(1).forEach(function (v) {
          kit.svg(layer, "circle", { cx: p.x(v[0]), cy: p.y(v[1]), r: 3.5, fill: kit.colour(t) });
        });
      });
      tasks.forEach(function (task, t) {
        p.text(layer, task.at, "task " + (t + 1), { dy: 20, "text-anchor": "middle", style: halo });
      });
      found.starts.forEach(function (w, i) {
        var shift = [[-9, -9, "end"], [9, -9, "start"], [9, 20, "start"]][i], at = { stroke: "currentColor", fill: "none" };
        kit.svg(layer, "circle", Object.assign({ cx: p.x(w[0]), cy: p.y(w[1]), r: 5 }, at));
        p.text(layer, w, names[i], { dx: shift[0], dy: shift[1], "text-anchor": shift[2], style: halo });
      });
      var before = found.losses.map(function (l) { return l[0]; }), last = found.losses.map(function (l) { return l[l.length - 1]; });
      function mean(values) { return text(values.reduce(function (a, b) { return a + b; }, 0) / values.length); }
      write(before.map(function (value, t) { return text(value) + " \u2192 " + text(last[t]); })
        .concat([mean(before), mean(last)], found.after.map(text)));
      p.svg.setAttribute("aria-label", "Start at (" + settings.start.map(text).join(", ") + "), " + settings.steps + " inner steps of "
        + settings.lr + ": mean loss " + mean(before) + " before and " + mean(last) + " after; after, from the start of "
        + names.map(function (name, i) { return name + " " + text(found.after[i]); }).join(", "));
    }
    show();
  }
});
