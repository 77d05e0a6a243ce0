// Stability against plasticity: the reader moves the strength of a pull along measured runs, and says what forgetting is
// worth. Between two measured strengths means and intervals are interpolated; memory and computation, which only jump from
// strength 0 to the first, are those of the nearest measured strength above 0.
kit.interactive("frontier", {
  compute: function (s) {  // strengths [K], columns {name: [K] or {mean, low, high: [K]}}; place: 0 to K - 1; price: 0 to 1
    var last = s.strengths.length - 1, at = Math.min(last, Math.max(0, s.place)), i = Math.min(last - 1, Math.floor(at)), w = at - i;
    function between(list) { return (1 - w) * list[i] + w * list[i + 1]; }
    function nearest(list) { return list[at > 0 ? Math.max(1, Math.floor(at + 0.5)) : 0]; }
    var from = s.strengths[i], to = s.strengths[i + 1], found = {}, F = s.columns.forgetting.mean, I = s.columns.intransigence.mean;
    Object.keys(s.columns).forEach(function (name) {
      var column = s.columns[name];
      found[name] = column.mean ? [between(column.mean), between(column.low), between(column.high)] : [nearest(column)];
    });
    var cost = F.map(function (f, k) { return s.price * f + (1 - s.price) * I[k]; });
    return {
      strength: from > 0 ? Math.pow(from, 1 - w) * Math.pow(to, w) : w * to,
      row: found,
      best: cost.indexOf(Math.min.apply(null, cost)),  // the first of the cheapest
      front: F.map(function (f, k) {  // no other run is as good on both and better on one
        return !F.some(function (g, j) { return g <= f && I[j] <= I[k] && (g < f || I[j] < I[k]); });
      })
    };
  },
  start: function (root, data, compute) {
    var controls = kit.element(root, "div"), dashes = ["none", "7 3"];
    var method = kit.choice(controls, { legend: "Method", labels: data.labels, value: 0 }, show);
    var last = data.methods[0].strengths.length - 1;
    var place = kit.slider(controls, {
      label: "strength", min: 0, max: last, step: 0.25, value: data.place, show: function (v) { return power(at(method ? method.get() : 0, v).strength); }
    }, show);
    var price = kit.slider(controls, {
      label: "share of forgetting in the price, q", min: 0, max: 1, step: 0.05, value: data.price,
      show: function (v) { return Math.round(100 * v) + " %"; }
    }, show);
    var holder = kit.element(root, "div");
    kit.key(root, data.labels.map(function (label, m) { return [m, dashes[m], label]; }));
    var legend = kit.element(root, "ul", { class: "kit-key" }), cheapest = { d: kit.marks[3], fill: "none", stroke: kit.colour(4) };
    [
      ["on the frontier", { d: kit.marks[0], fill: kit.colour(5), transform: "scale(0.7)" }],
      ["not on it", { d: kit.marks[0], fill: "none", stroke: kit.colour(5), "stroke-width": 2, transform: "scale(0.7)" }],
      ["cheapest measured run", Object.assign({}, cheapest, { "stroke-width": 1.6, transform: "scale(1.2)" })],
      ["strength set above, 95 % intervals", { d: "M-9 0H9M0 -9V9" + kit.marks[0], fill: "none", stroke: kit.colour(5), "stroke-width": 2 }],
      ["joint training", { d: kit.marks[5], fill: kit.colour(3) }]
    ].forEach(function (entry) {
      var item = kit.element(legend, "li"), sample = kit.svg(item, "svg", { width: 20, height: 20, viewBox: "-10 -10 20 20", "aria-hidden": "true" });
      sample.style.verticalAlign = "middle";
      kit.svg(sample, "path", entry[1]);
      item.appendChild(document.createTextNode(" " + entry[0]));
    });
    var names = Object.keys(data.methods[0].columns);
    var write = kit.readout(root, names.concat(["measured or interpolated", "cheapest measured strength"]));
    function power(k) { return k === 0 ? "0" : k >= 1e3 ? k.toExponential(1).replace("e+", "e").replace(".0e", "e") : String(+k.toPrecision(2)); }
    function at(m, v) { return compute({ strengths: data.methods[m].strengths, columns: data.methods[m].columns, place: v, price: price ? price.get() : data.price }); }
    function cell(name, value) {
      if (name === "kept, kB") { return Math.round(value[0]).toLocaleString("en"); }
      if (value.length === 1) { return value[0].toFixed(2); }
      return (value[0].toFixed(1) + " [" + value[1].toFixed(1) + ", " + value[2].toFixed(1) + "]").replace(/-/g, "\u2212");
    }
    function show() {
      var chosen = method.get(), now = at(chosen, place.get()), row = now.row, F = row.forgetting, I = row.intransigence;
      place.set(place.get());
      holder.textContent = "";
      var p = kit.plot(holder, {
        x: [-5, 55], y: [-10, 50], xlabel: "forgetting (points)", ylabel: "intransigence (points)",
        label: data.labels[chosen] + " at strength " + power(now.strength) + ": forgetting " + F[0].toFixed(1) + " points, intransigence "
          + I[0].toFixed(1) + " points. Cheapest: strength " + power(data.methods[chosen].strengths[now.best]) + ". Joint training: " + data.joint[0].toFixed(1) + " and 0."
      }), layer = p.layer();
      [1 - chosen, chosen].forEach(function (m) {
        var c = data.methods[m].columns, look = at(m, place.get()), on = m === chosen ? 1 : 0.45;
        var points = c.forgetting.mean.map(function (f, k) { return [f, c.intransigence.mean[k]]; });
        p.line(layer, points, { stroke: kit.colour(m), "stroke-width": 2, "stroke-dasharray": dashes[m], "stroke-opacity": on });
        points.forEach(function (point, k) {  // filled: on the frontier of its method
          kit.svg(layer, "path", {
            d: kit.marks[m], transform: "translate(" + p.x(point[0]) + " " + p.y(point[1]) + ") scale(0.7)", "stroke-width": 2,
            stroke: kit.colour(m), "stroke-opacity": on, fill: look.front[k] ? kit.colour(m) : "none", "fill-opacity": on
          });
        });
      });
      p.line(layer, [[F[1], I[0]], [F[2], I[0]]], { stroke: kit.colour(5), "stroke-width": 4 });
      p.line(layer, [[F[0], I[1]], [F[0], I[2]]], { stroke: kit.colour(5), "stroke-width": 4 });
      kit.svg(layer, "circle", { cx: p.x(F[0]), cy: p.y(I[0]), r: 9, fill: "none", stroke: kit.colour(5), "stroke-width": 2 });
      var mine = data.methods[chosen].columns, low = [p.x(mine.forgetting.mean[now.best]), p.y(mine.intransigence.mean[now.best])];
      kit.svg(layer, "path", Object.assign({}, cheapest, { "stroke-width": 1.2, transform: "translate(" + low + ") scale(2)" }));
      var joint = [p.x(data.joint[0]), p.y(0)];
      kit.svg(layer, "path", { d: kit.marks[5], transform: "translate(" + joint + ")", fill: kit.colour(3) });
      p.text(layer, [data.joint[0] + 1.5, -4.5], "joint training", { "text-anchor": "start" });
      write(names.map(function (name) { return cell(name, row[name]); }).concat([
        place.get() % 1 ? "interpolated" : "measured", power(data.methods[chosen].strengths[now.best])
      ]));
    }
    show();
  }
});
