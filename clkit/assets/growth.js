// What growing costs: the reader sets the number of tasks, the hidden width and the lateral connections, and sees
// the parameters kept and the multiplications and additions of one answer, in closed form.
kit.interactive("growth", {
  compute: function (s) {  // laterals: 0 none, 1 adapters, 2 a full matrix from each older column
    var n = s.width, found = { one: [], independent: [], progressive: [], alone: [], columns: [] };
    var body = (s.inputs + 1) * n + (n + 1) * n, head = (n + 1) * s.outputs, kept = 0, run = 0;
    function lateral(k, outputs) {  // [parameters, those of them in a product] of what column k hears in one layer
      var older = k - 1, m = Math.max(1, Math.floor(n / k)), full = older * n * outputs, narrow = older * n * m + m * outputs;
      return !older || s.laterals === 0 ? [0, 0] : s.laterals === 2 ? [full, full] : [narrow + older + m, narrow];
    }
    for (var k = 1; k <= s.tasks; k++) {
      var hidden = lateral(k, n), output = lateral(k, s.outputs), own = 2 * n * (s.inputs + n), top = 2 * n * s.outputs;
      kept += body + head + hidden[0] + output[0];
      run = (s.laterals ? run : 0) + own + 2 * hidden[1];  // the hidden layers of columns 1 to k
      found.one.push(body + k * head);
      found.independent.push(k * (body + head));
      found.progressive.push(kept);
      found.alone.push(own + top);
      found.columns.push(run + top + 2 * output[1]);
    }
    return found;
  },
  start: function (root, data, compute) {
    var names = ["one network", "independent", "progressive"], dashes = ["none", "7 3", "2 3"];
    var controls = kit.element(root, "div");
    var tasks = kit.slider(controls, { label: "tasks", min: 2, max: 40, step: 1, value: data.tasks }, show);
    var width = kit.slider(controls, { label: "hidden width", min: 10, max: 400, step: 10, value: data.width }, show);
    var laterals = kit.choice(controls, {
      legend: "What a column hears of the older ones",
      labels: ["nothing", "adapters", "a full matrix from each"], value: data.laterals
    }, show);
    var panels = kit.element(root, "div", { class: "kit-panels" });
    kit.key(root, names.map(function (name, i) { return [i, dashes[i], name]; }));
    var write = kit.readout(root, names.map(function (name) { return name + ", parameters"; })
      .concat(["one network or independent, operations", "progressive, operations"]));
    function text(value) {
      return value < 1e6 ? +(value / 1e3).toPrecision(3) + " thousand" : +(value / 1e6).toPrecision(3) + " million";
    }
    function draw(title, lines, colours) {
      var most = Math.max.apply(null, lines.map(function (line) { return line[line.length - 1]; }));
      var unit = most < 9.5e5 ? 1e3 : 1e6, last = lines.map(function (line) { return text(line[line.length - 1]); });
      var panel = kit.element(panels, "div", { class: "kit-panel" });
      kit.element(panel, "div", {}, title + (unit === 1e3 ? " (thousands)" : " (millions)"));
      var p = kit.plot(panel, {
        x: [1, tasks.get()], y: [0, 1.05 * most / unit], width: 310, height: 250, xlabel: "tasks",
        label: title + " at the last task: " + colours.map(function (c, i) { return names[c] + " " + last[i]; }).join(", ")
      });
      lines.forEach(function (line, i) {
        var points = line.map(function (value, t) { return [t + 1, value / unit]; }), c = colours[i];
        p.line(p.layer(), points, { stroke: kit.colour(c), "stroke-width": 2.5, "stroke-dasharray": dashes[c] });
      });
    }
    function show() {
      var found = compute({
        tasks: tasks.get(), width: width.get(), laterals: laterals.get(), inputs: data.inputs, outputs: data.outputs
      });
      panels.textContent = "";
      draw("parameters kept", [found.one, found.independent, found.progressive], [0, 1, 2]);
      draw("operations of one answer", [found.alone, found.alone, found.columns], [0, 1, 2]);
      write([found.one, found.independent, found.progressive, found.alone, found.columns].map(function (line) {
        return text(line[line.length - 1]);
      }));
    }
    show();
  }
});
