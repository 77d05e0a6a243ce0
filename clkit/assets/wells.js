// Two losses with valleys: task 1 has one, task 2 has two. The reader moves the start and the wells, and sees which
// valley the path ends in, and from which starts every valley is reached.
kit.interactive("wells", {
  // task: L(w) = rho |w|^2 / 2 - sum of depth exp(-|w - centre|^2 / 2 width^2) over its wells; s.steps updates in all,
  // in a sequence half of them for each task; s.grid = [columns, rows] of starts over s.view = [x, y] ranges, s.fine those
  // of the places where the losses are given for their lines
  compute: function (s) {
    function loss(t, w) {
      return s.tasks[t].reduce(function (sum, well) {
        var a = w[0] - well.centre[0], b = w[1] - well.centre[1];
        return sum - well.depth * Math.exp(-(a * a + b * b) / (2 * s.width * s.width));
      }, s.slope * (w[0] * w[0] + w[1] * w[1]) / 2);
    }
    function gradient(t, w) {
      return s.tasks[t].reduce(function (sum, well) {
        var a = w[0] - well.centre[0], b = w[1] - well.centre[1], square = s.width * s.width;
        var share = well.depth * Math.exp(-(a * a + b * b) / (2 * square)) / square;
        return [sum[0] + share * a, sum[1] + share * b];
      }, [s.slope * w[0], s.slope * w[1]]);
    }
    function direction(n, w) {
      var g = gradient(0, w), h = gradient(1, w);
      return s.method === 0 ? [g[0] + h[0], g[1] + h[1]] : n < s.steps / 2 ? g : h;
    }
    function step(n, w) {
      var d = direction(n, w);
      return [w[0] - s.lr * d[0], w[1] - s.lr * d[1]];
    }
    function end(w) {
      for (var n = 0; n < s.steps; n++) { w = step(n, w); }
      return w;
    }
    function axis(range, count) {
      return Array.from({ length: count }, function (_, i) { return range[0] + (i + 0.5) * (range[1] - range[0]) / count; });
    }
    function over(grid) {  // places, row after row
      var columns = axis(s.view[0], grid[0]);
      return axis(s.view[1], grid[1]).flatMap(function (y) { return columns.map(function (x) { return [x, y]; }); });
    }
    var path = [s.start], starts = over(s.grid), ends = starts.map(end), fine = over(s.fine), places = [];
    for (var n = 0; n < s.steps; n++) { path.push(step(n, path[n])); }
    function valley(w) { return places.findIndex(function (p) { return Math.hypot(p[0] - w[0], p[1] - w[1]) < 0.15; }); }
    ends.forEach(function (w) { if (valley(w) < 0) { places.push(w); } });
    if (valley(path[s.steps]) < 0) { places.push(path[s.steps]); }
    places.sort(function (a, b) { return a[0] - b[0]; });  // numbered from left to right
    return {
      path: path, starts: starts, ends: ends, fine: fine, valleys: places, reached: ends.map(valley), own: valley(path[s.steps]),
      losses: [0, 1].map(function (t) { return path.map(function (w) { return loss(t, w); }); }),
      levels: [0, 1].map(function (t) { return fine.map(function (w) { return loss(t, w); }); })
    };
  },
  start: function (root, data, compute) {
    var tasks = JSON.parse(JSON.stringify(data.tasks)), axes = ["first weight", "second weight"];
    var controls = kit.element(root, "div"), text = function (v) { return v.toFixed(2).replace("-", "\u2212"); };
    var method = kit.choice(controls, { legend: "How the two tasks are trained", labels: data.methods, value: data.method }, show);
    var width = kit.slider(controls, { label: "width of the wells", min: 0.4, max: 1.2, step: 0.05, value: data.width, show: text }, show);
    var lr = kit.slider(controls, { label: "step size \u03b7", min: 0.02, max: 0.4, step: 0.02, value: data.lr, show: text }, show);
    var p = kit.plot(kit.element(root, "div"), {
      x: data.view[0], y: data.view[1], height: 334, label: data.alt, xlabel: axes[0], ylabel: axes[1]
    });
    var map = p.layer(), hills = p.layer(), lines = p.layer(), MAPPED = [2, 3, 4, 5];
    kit.key(root, [[0, "none", "equal loss of task 1"], [1, "7 3", "equal loss of task 2"], [5, "none", "path"]]);
    kit.element(root, "p", {}, "Small marks are starts; their shape and colour say in which valley, a ring with the same mark, training ends.");
    var write = kit.readout(root, ["ends in valley", "loss of task 1", "loss of task 2", "sum", "starts that end there"]);
    var fields = kit.element(root, "div");
    var start = kit.point(p, fields, { label: "start", at: data.start, colour: 5, axes: axes }, function () { show(); });
    [["well of task 1", 0, 0], ["first well of task 2", 1, 0], ["second well of task 2", 1, 1]].forEach(function (entry) {
      kit.point(p, fields, { label: entry[0], at: tasks[entry[1]][entry[2]].centre, colour: entry[1], axes: axes }, function (to) {
        tasks[entry[1]][entry[2]].centre = to;
        show();
      });
    });
    function mark(layer, at, number, size, beside) {  // beside: units to the right and down
      var u = beside || [0, 0];
      kit.svg(layer, "path", {
        d: kit.marks[MAPPED[number % 4]], fill: kit.colour(MAPPED[number % 4]),
        transform: "translate(" + (p.x(at[0]) + u[0]) + " " + (p.y(at[1]) + u[1]) + ") scale(" + size + ")"
      });
    }
    function contour(found, t, level) {  // marching squares: in each cell of the grid, where its edges cross the level
      var columns = data.fine[0], d = "";
      function at(i) { return found.fine[i]; }
      for (var j = 0; j + 1 < data.fine[1]; j++) {
        for (var i = t * (j % 2); i + 1 < columns; i += 1 + t) {  // task 2: every other cell, so that the line is dashed
          var a = j * columns + i, corners = [a, a + 1, a + columns + 1, a + columns], crossed = [];
          corners.forEach(function (one, k) {
            var other = corners[(k + 1) % 4], u = found.levels[t][one] - level, v = found.levels[t][other] - level;
            if ((u < 0) !== (v < 0)) {
              var share = u / (u - v);
              crossed.push([at(one)[0] + share * (at(other)[0] - at(one)[0]), at(one)[1] + share * (at(other)[1] - at(one)[1])]);
            }
          });
          for (var k = 0; k + 1 < crossed.length; k += 2) {
            d += "M" + crossed.slice(k, k + 2).map(function (c) { return p.x(c[0]).toFixed(1) + " " + p.y(c[1]).toFixed(1); }).join("L");
          }
        }
      }
      kit.svg(hills, "path", { d: d, fill: "none", stroke: kit.colour(t), "stroke-width": 1.2, opacity: 0.75 });
    }
    function show() {
      var settings = { tasks: tasks, start: start.get(), lr: lr.get(), steps: data.steps, method: method.get(), width: width.get() };
      Object.assign(settings, { slope: data.slope, grid: data.grid, fine: data.fine, view: data.view });
      var found = compute(settings), last = data.steps;
      [map, hills, lines].forEach(function (layer) { layer.textContent = ""; });
      found.starts.forEach(function (at, i) { mark(map, at, found.reached[i], 0.36); });
      [0, 1].forEach(function (t) { [-1.2, -0.9, -0.6, -0.3, 0].forEach(function (level) { contour(found, t, level); }); });
      p.line(lines, found.path, { stroke: kit.colour(5), "stroke-width": 2 });
      found.valleys.forEach(function (at, number) {
        kit.svg(lines, "circle", { cx: p.x(at[0]), cy: p.y(at[1]), r: 15, fill: "none", stroke: kit.colour(MAPPED[number % 4]), "stroke-width": 2 });
        mark(lines, at, number, 0.8, [15, -15]);  // beside the ring: a well, which the reader drags, may lie in it
      });
      var share = found.reached.filter(function (v) { return v === found.own; }).length / found.reached.length;
      var texts = [
        (found.own + 1) + " of " + found.valleys.length + ", counted from the left", text(found.losses[0][last]), text(found.losses[1][last]),
        text(found.losses[0][last] + found.losses[1][last]), (100 * share).toFixed(0) + " %"
      ];
      write(texts);
      p.svg.setAttribute("aria-label", data.methods[method.get()] + " from (" + start.get().map(text).join(", ") + ") ends in valley " + texts[0]
        + ", at (" + found.path[last].map(text).join(", ") + "), losses " + texts[1] + " and " + texts[2] + "; " + texts[4] + " of all starts end there");
    }
    show();
  }
});
