// Two quadratic losses of two weights. The reader moves the start and the two minima, turns the second bowl, sets the
// step size, chooses how the tasks are trained, and sees the path, the losses and, at any step, the pull of each task
// and what is left of both.
kit.interactive("bowls", {
  // task: L(w) = (w - m)' A (w - m) / 2, A its curvature, m its minimum; s.steps for each task; the second bowl is turned
  // until its long axis is s.angle degrees from that of the first, and the ratio of its curvatures raised to s.stretch
  compute: function (s) {
    function dot(a, b) { return a[0] * b[0] + a[1] * b[1]; }
    function add(a, b, times) { return [a[0] + times * b[0], a[1] + times * b[1]]; }
    function product(m, v) { return [dot(m[0], v), dot(m[1], v)]; }
    function sum(a, b, times) { return a.map(function (row, i) { return add(row, b[i], times); }); }
    function away(t, w) { return add(w, s.tasks[t].minimum, -1); }
    function gradient(t, w) { return product(curvatures[t], away(t, w)); }
    function size(v) { return Math.hypot(v[0], v[1]); }
    function axis(m) { return Math.atan2(2 * m[0][1], m[0][0] - m[1][1]) / 2 + Math.PI / 2; }  // long one, in radians
    function turned(m, to) {  // of stretched eigenvalues, middle -+ half, with its long axis in the direction `to`
      var mean = (m[0][0] + m[1][1]) / 2, part = Math.hypot((m[0][0] - m[1][1]) / 2, m[0][1]);
      var root = Math.sqrt((mean + part) * (mean - part)), high = root * Math.pow((mean + part) / root, s.stretch);
      var middle = (high + root * root / high) / 2, half = (high - root * root / high) / 2;
      var c = half * Math.cos(2 * to), d = half * Math.sin(2 * to);
      return [[middle - c, -d], [-d, middle + c]];
    }
    function largest(m) {  // step size: 2 over the largest eigenvalue
      return 2 / ((m[0][0] + m[1][1]) / 2 + Math.hypot((m[0][0] - m[1][1]) / 2, m[0][1]));
    }
    var A = s.tasks[0].curvature, B = turned(s.tasks[1].curvature, axis(A) + s.angle * Math.PI / 180);
    var curvatures = [A, B], both = sum(A, B, 1), anchor;
    var kept = s.method === 4 ? [[A[0][0], 0], [0, A[1][1]]] : A;  // EWC with the diagonal alone
    function direction(n, w) {
      var g = gradient(0, w), h = gradient(1, w);
      if (s.method === 1) { return add(g, h, 1); }
      if (s.method === 2) { return n % 2 ? h : g; }
      if (s.method === 6) { return add(project(g, h), project(h, g), 1); }
      if (n < s.steps) { return g; }
      if (n === s.steps) { anchor = w; }
      if (s.method === 3 || s.method === 4) { return add(h, product(kept, add(w, anchor, -1)), s.strength); }
      return s.method === 5 ? project(h, g) : h;
    }
    function project(g, r) {  // takes out of g what opposes r
      return dot(g, r) < 0 && dot(r, r) > 0 ? add(g, r, -dot(g, r) / dot(r, r)) : g;
    }
    var path = [s.start], moves = [];
    for (var n = 0; n <= 2 * s.steps; n++) {
      moves.push(direction(n, path[n]).map(function (v) { return -v; }));
      if (n < 2 * s.steps) { path.push(add(path[n], moves[n], s.lr)); }
    }
    function each(f) { return [0, 1].map(function (t) { return path.map(function (w) { return f(t, w); }); }); }
    var b = add(product(A, s.tasks[0].minimum), product(B, s.tasks[1].minimum), 1);
    var det = both[0][0] * both[1][1] - both[0][1] * both[1][0], sprung = sum(B, kept, s.strength);
    return {
      path: path, moves: moves, curvatures: curvatures,
      efficiency: path.map(function (w) {  // what both pulls together leave, as a share of their lengths
        var g = gradient(0, w), h = gradient(1, w), spent = size(g) + size(h);
        return spent > 0 ? size(add(g, h, 1)) / spent : 0;
      }),
      pulls: each(function (t, w) { return gradient(t, w).map(function (v) { return -v; }); }),
      losses: each(function (t, w) { return dot(away(t, w), gradient(t, w)) / 2; }),
      balance: [(both[1][1] * b[0] - both[0][1] * b[1]) / det, (both[0][0] * b[1] - both[1][0] * b[0]) / det],
      limit: [Math.min(largest(A), largest(B)), largest(both), null,
        Math.min(largest(A), largest(sprung)), Math.min(largest(A), largest(sprung)), null, null][s.method]
    };
  },
  start: function (root, data, compute) {
    var tasks = JSON.parse(JSON.stringify(data.tasks)), last = 2 * data.steps, axes = ["first weight", "second weight"];
    var controls = kit.element(root, "div"), names = data.methods, text = function (v) { return v.toFixed(2).replace("-", "\u2212"); };
    var method = kit.choice(controls, { legend: "How the two tasks are trained", labels: names, value: data.method }, show);
    var angle = kit.slider(controls, {
      label: "angle between the long axes", min: 0, max: 180, step: 5, value: data.angle,
      show: function (v) { return v + "\u00b0"; }
    }, show);
    function ratio(m) {  // of the two curvatures
      var mean = (m[0][0] + m[1][1]) / 2, part = Math.hypot((m[0][0] - m[1][1]) / 2, m[0][1]);
      return (mean + part) / (mean - part);
    }
    var stretch = kit.slider(controls, {
      label: "bowl 2, steep against flat", min: 0, max: 2, step: 0.1, value: data.stretch, show: function (v) {
        return Math.pow(ratio(tasks[1].curvature), v).toFixed(1) + " to 1";
      }
    }, show);
    var apart = kit.slider(controls, { label: "distance of the minima", min: 0, max: 5, step: 0.01, value: 0, show: text }, spread);
    var lr = kit.slider(controls, { label: "step size \u03b7", min: 0.02, max: 0.9, step: 0.02, value: data.lr, show: text }, show);
    var strength = kit.slider(controls, { label: "EWC: strength k", min: 0, max: 4, step: 0.25, value: data.strength, show: text }, show);
    var look = kit.slider(controls, { label: "look at step n", min: 0, max: last, step: 1, value: data.look }, show);
    var p = kit.plot(kit.element(root, "div"), {
      x: [-3, 3], y: [-2.5, 1.7], height: 334, label: data.alt, xlabel: "first weight", ylabel: "second weight"
    });
    var bowls = p.layer(), lines = p.layer(), arrows = p.layer();
    kit.key(root, [[0, "none", "pull of task 1"], [1, "7 3", "pull of task 2"], [3, "2 3", "pull of the spring (EWC)"],
      [5, "none", "what is left: the direction of the step"]]);
    var q = kit.plot(kit.element(root, "div"), {
      x: [0, last], y: [0, 8], height: 180, label: "The losses of both tasks at every step", xlabel: "step n", ylabel: "loss"
    });
    kit.key(root, [[0, "none", "loss of task 1"], [1, "7 3", "loss of task 2"]]);
    var write = kit.readout(root, ["loss of task 1", "loss of task 2", "pull of task 1", "pull of task 2", "what is left",
      "angle between the pulls", "cosine", "efficiency, if both pulled", "largest step size"]);
    var fields = kit.element(root, "div");
    function point(label, at, colour, moved) {
      return kit.point(p, fields, { label: label, at: at, colour: colour, axes: axes }, function (to) { moved(to); show(); });
    }
    var minima = tasks.map(function (task, t) {
      return point("minimum of task " + (t + 1), task.minimum, t, function (to) { task.minimum = to; measure(); });
    });
    var ray = [1, 0];  // from the minimum of task 1 to that of task 2; kept while they are in one place
    function measure() {
      var a = tasks[0].minimum, b = tasks[1].minimum, far = Math.hypot(b[0] - a[0], b[1] - a[1]);
      if (far > 0) { ray = [(b[0] - a[0]) / far, (b[1] - a[1]) / far]; }
      apart.set(far);
    }
    function spread(far) {  // moves task 2 along the ray, no farther than to the edge of the drawing
      var a = tasks[0].minimum, reach = [0, 1].map(function (i) {
        return ray[i] === 0 ? Infinity : (p.range[i][ray[i] > 0 ? 1 : 0] - a[i]) / ray[i];
      });
      far = Math.min(far, reach[0], reach[1]);
      tasks[1].minimum = [a[0] + far * ray[0], a[1] + far * ray[1]];
      minima[1].set(tasks[1].minimum);
      apart.set(far);
      show();
    }
    var start = point("start", data.start, 5, function () { return null; });
    var curves = q.layer(), taken = [];  // where arrows begin and end, in units of the drawing
    function ink(colour, dash, width) { return { stroke: kit.colour(colour), "stroke-dasharray": dash, "stroke-width": width }; }
    function ellipse(task, t, level, A) {  // where the loss is `level`: A = C C', w = m + C'^-1 u, u on a circle
      var c = Math.sqrt(A[0][0]), e = A[1][0] / c, f = Math.sqrt(A[1][1] - e * e), points = [];
      for (var i = 0; i <= 72; i++) {
        var u = Math.sqrt(2 * level) * Math.cos(i * Math.PI / 36), v = Math.sqrt(2 * level) * Math.sin(i * Math.PI / 36) / f;
        points.push([task.minimum[0] + (u - e * v) / c, task.minimum[1] + v]);
      }
      p.line(bowls, points, Object.assign(ink(t, t ? "7 3" : "none", 1), { opacity: 0.6 }));
    }
    function runs(found) { return near(found.path, 50).length < found.path.length; }
    function near(points, bound) {  // up to where the path runs away
      var far = points.findIndex(function (v) { return Math.abs(v[0]) > bound || Math.abs(v[1]) > bound; });
      return far < 0 ? points : points.slice(0, far + 1);
    }
    function apartBy(units) {  // of the steps those that are so far from the last one kept: dots that do not cover each other
      var last = null;
      return function (v) {
        var kept = last === null || Math.hypot(p.x(v[0]) - p.x(last[0]), p.y(v[1]) - p.y(last[1])) >= units;
        if (kept) { last = v; }
        return kept;
      };
    }
    function pull(w, v, colour, dash, width, acts) {
      var scaled = [w[0] + data.scale * v[0], w[1] + data.scale * v[1]], ground = { stroke: "var(--pst-color-background, #fff)", "stroke-width": 11 };
      if (Math.hypot(v[0], v[1]) >= 1e3) { return; }
      if (!acts) { p.line(arrows, [w, scaled], ground); }  // a pale one would not show on the path
      kit.arrow(p, kit.svg(arrows, "g", { opacity: acts ? 1 : 0.7 }), w, scaled, ink(colour, dash, width));
      taken.push([w, scaled].map(function (v) { return [p.x(v[0]), p.y(v[1])]; }));
    }
    function between(v, a, b) {  // distance of a point from the arrow from a to b
      var x = b[0] - a[0], y = b[1] - a[1], share = ((v[0] - a[0]) * x + (v[1] - a[1]) * y) / (x * x + y * y || 1);
      share = Math.max(0, Math.min(1, share));
      return Math.hypot(v[0] - a[0] - share * x, v[1] - a[1] - share * y);
    }
    function mark(at) {  // w*, named at the first place about its ring that the arrows leave free, or at the freest
      function room(side) {
        var x = p.x(at[0]) + side[0], y = p.y(at[1]) + side[1];
        if (Math.min(x, p.x(p.range[0][1]) - x) < 12 || Math.min(y, p.y(p.range[1][0]) - y) < 8) { return -1; }  // cut off
        return Math.min.apply(null, [20].concat(taken.map(function (arrow) { return between([x, y], arrow[0], arrow[1]); })));
      }
      var sides = [[20, 15], [24, 0], [0, 22], [20, -15], [-20, 15], [-24, 0], [0, -22], [-20, -15]];
      var side = sides.reduce(function (best, other) { return room(other) > room(best) ? other : best; });
      kit.svg(arrows, "circle", Object.assign({ cx: p.x(at[0]), cy: p.y(at[1]), r: 8, fill: "none" }, ink(2, "none", 2)));
      p.text(arrows, at, "w*", { dx: side[0], dy: side[1] + 5, "text-anchor": "middle" });
    }
    function force(n, found, kind) {  // the arrows at step n
      var w = found.path[n], move = found.moves[n], a = found.pulls[0][n], b = found.pulls[1][n], second = n >= data.steps;
      pull(w, move, 5, "none", 5, true);
      var together = kind === 1 || kind === 6;
      pull(w, a, 0, "none", 2, together || (kind === 2 ? n % 2 === 0 : !second));
      pull(w, b, 1, "7 3", 2, together || (kind === 2 ? n % 2 === 1 : second));
      if (second && (kind === 3 || kind === 4)) { pull(w, [move[0] - b[0], move[1] - b[1]], 3, "2 3", 2, true); }
      kit.svg(arrows, "circle", Object.assign({ cx: p.x(w[0]), cy: p.y(w[1]), r: 4.5 }, ink(5, "none", 2), { fill: "var(--pst-color-background, #fff)" }));
    }
    function show() {
      var kind = method.get(), n = look.get();
      var found = compute({ tasks: tasks, angle: angle.get(), stretch: stretch.get(), start: start.get(), lr: lr.get(), steps: data.steps, method: kind, strength: strength.get() });
      [bowls, lines, arrows, curves].forEach(function (layer) { layer.textContent = ""; });
      strength.input.disabled = kind !== 3 && kind !== 4;
      tasks.forEach(function (task, t) {
        [0.125, 0.5, 1.125, 2, 3.125].forEach(function (level) { ellipse(task, t, level, found.curvatures[t]); });
        var points = found.losses[t].map(function (value, i) { return [i, Math.min(value, 1e4)]; });
        q.line(curves, near(points, 1e3), ink(t, t ? "7 3" : "none", 2));
      });
      var path = near(found.path, 50);
      p.line(lines, path, ink(5, "none", 1.5));
      path.filter(apartBy(5)).forEach(function (v) { kit.svg(lines, "circle", { cx: p.x(v[0]), cy: p.y(v[1]), r: 2, fill: kit.colour(5) }); });
      taken = [];
      if (path.length > n) { force(n, found, kind); }
      mark(found.balance);
      if (runs(found)) { p.text(lines, [-2.9, 1.45], "This path runs away: the step size is too large.", { "text-anchor": "start" }); }
      q.line(curves, [[n, 0], [n, 8]], ink(5, "2 3", 1));
      report(n, found);
    }
    function report(n, found) {
      function short(v) { return Math.abs(v) < 1e4 ? text(v) : "beyond 10,000"; }
      var pulls = found.pulls.map(function (all) { return all[n]; }), sizes = pulls.concat([found.moves[n]]).map(function (v) { return Math.hypot(v[0], v[1]); });
      var cosine = (pulls[0][0] * pulls[1][0] + pulls[0][1] * pulls[1][1]) / (sizes[0] * sizes[1]);
      var seen = sizes.slice(0, 2).every(function (size) { return size >= 0.005 && size < 1e4; });  // a pull shown as 0.00 points nowhere
      var between = seen ? (Math.acos(Math.max(-1, Math.min(1, cosine))) * 180 / Math.PI).toFixed(0) + "\u00b0" : "\u2013";
      var shares = seen ? [text(cosine), (100 * found.efficiency[n]).toFixed(1) + " %"] : ["\u2013", "\u2013"];
      var losses = found.losses.map(function (all) { return short(all[n]); });
      write(losses.concat(sizes.map(short), [between], shares, [found.limit === null ? "no simple rule" : text(found.limit)]));
      p.svg.setAttribute("aria-label", names[method.get()] + ", step " + n + " of " + last + ": weights (" + found.path[n].map(short).join(", ")
        + "), losses " + losses.join(" and ") + ", pulls of length " + sizes.slice(0, 2).map(short).join(" and ") + ", what is left " + short(sizes[2])
        + ", efficiency, if both pulled, " + shares[1] + (runs(found) ? "; the path runs away" : "")
        + "; equilibrium w* at (" + found.balance.map(text).join(", ") + ")");
    }
    measure();
    show();
  }
});
