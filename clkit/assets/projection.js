// A-GEM in the plane: the reader moves the gradient g of the new task and the reference r of the old ones, and sees the
// projected gradient, and what a step along either does to both losses, to first order.
kit.interactive("projection", {
  compute: function (s) {  // g and r of any length; lr: the step size
    function dot(a, b) { return a.reduce(function (sum, v, i) { return sum + v * b[i]; }, 0); }
    var inner = dot(s.g, s.r), square = dot(s.r, s.r), lengths = Math.sqrt(dot(s.g, s.g) * square);
    var share = inner < 0 && square > 0 ? inner / square : 0;
    var projected = s.g.map(function (v, i) { return v - share * s.r[i]; });
    return {
      projected: projected,
      angle: lengths > 0 ? Math.acos(Math.max(-1, Math.min(1, inner / lengths))) * 180 / Math.PI : null,
      old: [-s.lr * inner, -s.lr * dot(projected, s.r)],  // change of the old loss: a step along g, along projected
      fresh: [-s.lr * dot(s.g, s.g), -s.lr * dot(projected, s.g)]  // of the new one
    };
  },
  start: function (root, data, compute) {
    var p = kit.plot(root, {
      x: [-4, 4], y: [-3.2, 3.2], width: 460, height: 374, label: data.alt, xlabel: "derivative in weight 1",
      ylabel: "derivative in weight 2"  // 460 x 374: a unit is as long across as up, so right angles look right
    });
    var shade = p.layer(), arrows = p.layer(), names = p.layer();
    kit.key(root, [[0, "7 3", "g, of the new task"], [1, "2 3", "r, of the old tasks"], [2, "none", "projected g"]]);
    var fields = kit.element(root, "div");
    var g = kit.point(p, fields, { label: "g", at: data.g, colour: 0, step: 0.1 }, show);
    var r = kit.point(p, fields, { label: "r", at: data.r, colour: 1, step: 0.1 }, show);
    var write = kit.readout(root, [
      "angle between g and r", "old loss, step with g", "old loss, with projected g",
      "new loss, step with g", "new loss, with projected g"
    ]);
    function signed(value) { return (value > 5e-4 ? "+" : value < -5e-4 ? "\u2212" : "") + Math.abs(value).toFixed(3); }
    function look(colour, dash, width) {
      return { stroke: kit.colour(colour), "stroke-dasharray": dash, "stroke-width": width };
    }
    function forbid(v) {  // the half-plane of all z with z.r < 0, and its edge
      var length = Math.hypot(v[0], v[1]);
      if (length === 0) { return; }
      var u = [9 * v[0] / length, 9 * v[1] / length], a = [-u[1], u[0]], b = [u[1], -u[0]];
      var far = [[b[0] - u[0], b[1] - u[1]], [a[0] - u[0], a[1] - u[1]]];
      p.line(shade, [a, b].concat(far), { fill: kit.colour(1), opacity: 0.15 });
      p.line(shade, [a, b], look(1, "none", 1));
    }
    function show() {
      var at = { g: g.get(), r: r.get(), lr: data.lr }, found = compute(at), z = found.projected;
      [shade, arrows, names].forEach(function (layer) { layer.textContent = ""; });
      forbid(at.r);
      p.line(arrows, [at.g, z], look(5, "2 3", 1));
      kit.arrow(p, arrows, [0, 0], z, look(2, "none", 4));
      kit.arrow(p, arrows, [0, 0], at.g, look(0, "7 3", 2));
      kit.arrow(p, arrows, [0, 0], at.r, look(1, "2 3", 2));
      [["g", at.g], ["r", at.r]].forEach(function (pair) {
        p.text(names, pair[1], pair[0], { dx: 12, dy: pair[1][1] < 0 || pair[1][1] > 2.7 ? 16 : -8 });
      });
      var texts = [found.angle === null ? "none" : found.angle.toFixed(0) + "\u00b0"]
        .concat(found.old.map(signed), found.fresh.map(signed));
      write(texts);
      p.svg.setAttribute("aria-label", "g = (" + at.g.join(", ") + "), r = (" + at.r.join(", ") + "), angle " + texts[0]
        + "; projected g = (" + z.map(function (v) { return +v.toFixed(2); }).join(", ") + ")");
    }
    show();
  }
});
