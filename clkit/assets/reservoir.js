// What two memories hold of a stream: the reader sets their size, how much of the stream has passed, and the draw.
kit.interactive("reservoir", {
  compute: function (s) {  // sizes: examples of each task; seen: how many have passed; draw: 0, 1, ... another luck
    var total = s.sizes.reduce(function (a, b) { return a + b; }, 0), n = Math.min(s.seen, total), state = 1;
    function coin() { state = 48271 * state % 2147483647; return state / 2147483647; }  // Park and Miller's generator
    for (var skip = 0; skip < s.draw * total; skip++) { coin(); }
    var slots = [], ring = [], i = 0;
    s.sizes.forEach(function (size, task) {
      for (var k = 0; k < size && i < n; k++, i++) {
        var j = Math.floor(coin() * (i + 1)), slot = i < s.capacity ? i : j;
        if (slot < s.capacity) { slots[slot] = task; }
        ring[i % s.capacity] = task;
      }
    });
    function counts(memory) {
      return s.sizes.map(function (_, t) { return memory.filter(function (task) { return task === t; }).length; });
    }
    var passed = 0, kept = Math.min(s.capacity, n), expected = [], missing = [];
    s.sizes.forEach(function (size) {
      var own = Math.max(0, Math.min(size, n - passed)), none = 1;
      for (var k = 0; k < kept; k++) { none *= Math.max(0, n - own - k) / (n - k); }  // the memory: a random M of n
      passed += size;
      expected.push(own * kept / n);
      missing.push(none);
    });
    return { slots: slots, reservoir: counts(slots), ring: counts(ring), expected: expected, missing: missing };
  },
  start: function (root, data, compute) {
    var tasks = data.streams[0].length, controls = kit.element(root, "div");
    var stream = kit.choice(controls, { legend: "The stream", labels: data.labels, value: 0 }, function () { fit(); show(); });
    var seen = kit.slider(controls, { label: "examples passed", min: 1, max: 1000, step: 1, value: data.seen }, show);
    var capacity = kit.slider(controls, { label: "places, M", min: 1, max: 60, step: 1, value: data.capacity }, show);
    var draw = kit.slider(controls, { label: "draw", min: 1, max: 50, step: 1, value: data.draw + 1 }, show);
    var panels = kit.element(root, "div", { class: "kit-panels" });
    var write = kit.readout(root, ["chance of each example", "expected of task 1", "held of task 1",
      "chance that none of task 1 is held", "tasks held by the reservoir", "tasks held by the ring buffer"]);
    function fit() {
      var total = data.streams[stream.get()].reduce(function (a, b) { return a + b; }, 0);
      seen.input.max = total;
      seen.set(Math.min(seen.get(), total));
    }
    function boxes(title, counts) {  // the memory, an example a box, in the order of the tasks
      var panel = kit.element(panels, "div", { class: "kit-panel" }), frame = kit.element(panel, "div", { class: "kit-drawing" });
      var held = [], label = title + ". Examples of task " + counts.map(function (c, t) { return t + 1 + ": " + c; }).join(", ");
      counts.forEach(function (count, t) { for (var k = 0; k < count; k++) { held.push(t); } });
      kit.element(panel, "p", { style: "margin: 0" }, title);
      panel.insertBefore(panel.lastChild, frame);
      var svg = kit.svg(frame, "svg", { viewBox: "0 0 310 " + 31 * Math.ceil(held.length / 10), role: "img", "aria-label": label });
      held.forEach(function (t, k) {
        var g = kit.svg(svg, "g", { transform: "translate(" + 31 * (k % 10) + " " + 31 * Math.floor(k / 10) + ")" });
        kit.svg(g, "rect", { x: 1, y: 1, width: 28, height: 28, rx: 3, fill: kit.colour(0), "fill-opacity": 0.5 - 0.05 * t, stroke: kit.colour(0) });
        kit.svg(g, "text", { x: 15, y: 20, "text-anchor": "middle", class: "kit-words" }, t + 1);
      });
    }
    function bars(found) {
      var most = Math.max(2, Math.max.apply(null, found.reservoir.concat(found.expected)));
      var p = kit.plot(kit.element(panels, "div", { class: "kit-panel" }), {
        x: [0.4, tasks + 0.6], y: [0, 1.1 * most], height: 250, xlabel: "task", ylabel: "in the reservoir",
        label: "Examples in the reservoir by task, held and expected: " + found.reservoir.map(function (count, t) {
          return t + 1 + ": " + count + " and " + found.expected[t].toFixed(1);
        }).join(", ")
      }), layer = p.layer();
      found.reservoir.forEach(function (count, t) {
        p.line(layer, [[t + 1, 0], [t + 1, count]], { stroke: kit.colour(0), "stroke-width": 12, "stroke-opacity": 0.6 });
        if (found.expected[t]) {
          p.line(layer, [[t + 0.55, found.expected[t]], [t + 1.45, found.expected[t]]], { stroke: kit.colour(1), "stroke-width": 2.5 });
        }
      });
    }
    function show() {
      var n = seen.get(), sizes = data.streams[stream.get()];
      var found = compute({ capacity: capacity.get(), seen: n, sizes: sizes, draw: draw.get() - 1 });
      function held(counts) { return counts.filter(function (count) { return count; }).length; }
      var begun = found.expected.filter(function (count) { return count; }).length, none = found.missing[0];
      panels.textContent = "";
      boxes("Reservoir", found.reservoir);
      boxes("Ring buffer: the last M", found.ring);
      bars(found);
      write([(100 * Math.min(1, capacity.get() / n)).toPrecision(3) + " %", found.expected[0].toFixed(1), found.reservoir[0],
        0 < none && none < 1e-4 ? "below 0.01 %" : (100 * none).toPrecision(2) + " %",
        held(found.reservoir) + " of " + begun, held(found.ring) + " of " + begun]);
    }
    show();
  }
});
