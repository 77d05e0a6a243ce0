// What the interactives of the book share: a plot, controls, and points that a reader drags.
// Each is built of native inputs and SVG, and works without a server, a kernel or another script.
window.kit = window.kit || (function () {
  var COLOURS = ["#0072b2", "#c24e00", "#00795a", "#a8497f", "#7a6200", "#4d5663"];  // where the page has none
  var MARKS = [  // one shape for each colour, about 12 units wide
    "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z", "M-5.5 -5.5H5.5V5.5H-5.5z", "M0 -7L6.5 5.5H-6.5z",
    "M0 -7.5L6.5 0L0 7.5L-6.5 0z", "M-6.5 -5.5H6.5L0 7z", "M-2.5 -7H2.5V-2.5H7V2.5H2.5V7H-2.5V2.5H-7V-2.5H-2.5z"
  ];
  var count = 0;

  function element(parent, tag, attributes, text) {
    var made = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (k) { made.setAttribute(k, attributes[k]); });
    if (text !== undefined) { made.textContent = text; }
    parent.appendChild(made);
    return made;
  }

  function svg(parent, tag, attributes, text) {
    var made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.keys(attributes || {}).forEach(function (k) { made.setAttribute(k, attributes[k]); });
    if (text !== undefined) { made.textContent = text; }
    parent.appendChild(made);
    return made;
  }

  function colour(number) { return "var(--kit-line-" + number % 6 + ", " + COLOURS[number % 6] + ")"; }

  function ticks(low, high) {  // at most seven round numbers
    var raw = (high - low) / 6, power = Math.pow(10, Math.floor(Math.log10(raw))), step = power * 10;
    [5, 2, 1].forEach(function (n) { if (n * power >= raw * 0.999) { step = n * power; } });
    var found = [];
    for (var n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) {
      found.push(+(n * step).toPrecision(6));
    }
    return found;
  }

  // Axes in an SVG of width x height units. p.x(value), p.y(value): units; p.layer(): a group that is clipped to the
  // axes; p.line(layer, [[x, y], ...], attributes) draws in values; p.text(layer, x, y, words, attributes); p.range:
  // from where to where x and y go.
  function plot(root, options) {
    var width = options.width || 460, height = options.height || 320, left = 46, bottom = 40, right = 12, top = 12;
    var inner = [width - left - right, height - top - bottom], id = "kit-plot-" + (++count), x = options.x, y = options.y;
    var frame = element(root, "div", { class: "kit-drawing" });
    var all = svg(frame, "svg", { viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": options.label });
    var g = svg(all, "g", { transform: "translate(" + left + " " + top + ")" });
    var p = {
      svg: all, frame: frame, group: g, range: [x, y],
      x: function (value) { return inner[0] * (value - x[0]) / (x[1] - x[0]); },
      y: function (value) { return inner[1] * (1 - (value - y[0]) / (y[1] - y[0])); }
    };
    function words(at, text, anchor) {
      svg(g, "text", { transform: "translate(" + at + ")", "text-anchor": anchor || "middle", class: "kit-words" }, text);
    }
    ticks(x[0], x[1]).forEach(function (t) {
      svg(g, "path", { class: "kit-grid", d: "M" + p.x(t) + " 0V" + inner[1] });
      words(p.x(t) + " " + (inner[1] + 17), String(t).replace("-", "\u2212"));
    });
    ticks(y[0], y[1]).forEach(function (t) {
      svg(g, "path", { class: "kit-grid", d: "M0 " + p.y(t) + "H" + inner[0] });
      words("-6 " + (p.y(t) + 4), String(t).replace("-", "\u2212"), "end");
    });
    words(inner[0] / 2 + " " + (inner[1] + 35), options.xlabel || "");
    words("-34 " + inner[1] / 2 + ") rotate(-90", options.ylabel || "");
    svg(svg(g, "clipPath", { id: id }), "rect", { width: inner[0], height: inner[1] });
    p.layer = function () { return svg(g, "g", { "clip-path": "url(#" + id + ")" }); };
    p.line = function (layer, points, attributes) {
      var d = points.map(function (v) { return p.x(v[0]).toFixed(2) + " " + p.y(v[1]).toFixed(2); }).join("L");
      return svg(layer, "path", Object.assign({ d: points.length ? "M" + d : "", fill: "none" }, attributes));
    };
    p.text = function (layer, at, text, attributes) {
      return svg(layer, "text", Object.assign({ x: p.x(at[0]), y: p.y(at[1]), class: "kit-words" }, attributes), text);
    };
    p.value = function (event) {  // where on the axes a pointer is, in values
      var at = new DOMPoint(event.clientX, event.clientY).matrixTransform(g.getScreenCTM().inverse());
      return [
        Math.min(x[1], Math.max(x[0], x[0] + at.x / inner[0] * (x[1] - x[0]))),
        Math.min(y[1], Math.max(y[0], y[1] - at.y / inner[1] * (y[1] - y[0])))
      ];
    };
    return p;
  }

  // An arrow from one point to another, both in values.
  function arrow(p, layer, from, to, attributes) {
    var a = [p.x(from[0]), p.y(from[1])], b = [p.x(to[0]), p.y(to[1])];
    var length = Math.hypot(b[0] - a[0], b[1] - a[1]), head = Math.min(9, length / 2);
    if (length < 0.5) { return; }
    var u = [(b[0] - a[0]) / length, (b[1] - a[1]) / length], base = [b[0] - head * u[0], b[1] - head * u[1]];
    var look = Object.assign({ "stroke-width": 2, fill: "none" }, attributes);
    svg(layer, "path", Object.assign({}, look, { d: "M" + a.join(" ") + "L" + base.join(" ") }));
    svg(layer, "path", {
      d: "M" + b.join(" ") + "L" + (base[0] - head * 0.45 * u[1]) + " " + (base[1] + head * 0.45 * u[0])
        + "L" + (base[0] + head * 0.45 * u[1]) + " " + (base[1] - head * 0.45 * u[0]) + "Z", fill: look.stroke
    });
  }

  // A labelled slider. change(value) is called as it moves; show(value) is what the reader sees of the value.
  // options: label, min, max, step, value, show. Returns get() and set(value); set calls no change.
  function slider(root, options, change) {
    var id = "kit-slider-" + (++count), row = element(root, "div", { class: "kit-slider" });
    element(row, "label", { for: id }, options.label);
    var input = element(row, "input", { type: "range", id: id, min: options.min, max: options.max, step: options.step });
    var output = element(row, "output", { for: id }), show = options.show || String;
    function display() {
      output.textContent = show(+input.value);
      input.setAttribute("aria-valuetext", output.textContent);
    }
    function set(value) { input.value = value; display(); }
    input.addEventListener("input", function () { display(); change(+input.value); });
    set(options.value);
    return { get: function () { return +input.value; }, set: set, input: input };
  }

  // Radio buttons. options: legend, labels, value (a number); change(number). Returns get() and set(number).
  function choice(root, options, change) {
    var name = "kit-choice-" + (++count), box = element(root, "fieldset", { class: "kit-choice" });
    element(box, "legend", {}, options.legend);
    var inputs = options.labels.map(function (text, number) {
      var label = element(box, "label"), input = element(label, "input", { type: "radio", name: name, value: number });
      label.appendChild(document.createTextNode(text));
      input.checked = number === (options.value || 0);
      input.addEventListener("change", function () { change(number); });
      return input;
    });
    return {
      get: function () { return inputs.findIndex(function (input) { return input.checked; }); },
      set: function (number) { inputs[number].checked = true; }
    };
  }

  // A point on the plot p: dragged with mouse or finger, moved by two number fields in root with the keyboard.
  // options: label, at [x, y], colour (0 to 5, the shape goes with it), step; change([x, y]). Returns get, set.
  function point(p, root, options, change) {
    var at = options.at.slice(), step = options.step || 0.05, digits = Math.max(0, Math.ceil(-Math.log10(step)));
    var handle = svg(p.group, "g", { class: "kit-point" });
    svg(handle, "circle", { r: 16, fill: "transparent" });  // as large as a finger needs
    svg(handle, "path", { d: MARKS[options.colour], fill: colour(options.colour), class: "kit-outline" });
    var row = element(root, "div", { class: "kit-fields" });
    element(row, "span", {}, options.label);
    var fields = ["x", "y"].map(function (axis, i) {
      var name = options.label + ", " + (options.axes || ["across", "up"])[i], range = p.range[i];
      var field = element(row, "input", { type: "number", step: step, min: range[0], max: range[1], "aria-label": name });
      field.addEventListener("input", function () {
        if (!isFinite(parseFloat(field.value))) { return; }
        at[i] = Math.min(range[1], Math.max(range[0], parseFloat(field.value)));  // stays on the drawing
        place(false);
        change(at.slice());
      });
      field.addEventListener("change", function () { place(true); });
      return field;
    });
    function place(write) {
      handle.setAttribute("transform", "translate(" + p.x(at[0]) + " " + p.y(at[1]) + ")");
      if (write) { fields.forEach(function (field, i) { field.value = at[i].toFixed(digits); }); }
    }
    handle.addEventListener("pointerdown", function (event) {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.onpointermove = function (moved) {
        at = p.value(moved).map(function (v) { return +(Math.round(v / step) * step).toFixed(digits); });
        place(true);
        change(at.slice());
      };
      handle.onpointerup = handle.onpointercancel = function () { handle.onpointermove = null; };
    });
    place(true);
    return { get: function () { return at.slice(); }, set: function (value) { at = value.slice(); place(true); } };
  }

  // Numbers under the drawing. labels: one for each; the returned function writes the texts.
  function readout(root, labels) {
    var list = element(root, "dl", { class: "kit-readout" });
    var cells = labels.map(function (label) {
      var pair = element(list, "div");
      element(pair, "dt", {}, label);
      return element(pair, "dd");
    });
    return function (texts) { cells.forEach(function (cell, i) { cell.textContent = texts[i]; }); };
  }

  // A key: [[colour number, dash, label], ...].
  function key(root, entries) {
    var list = element(root, "ul", { class: "kit-key" });
    entries.forEach(function (entry) {
      var item = element(list, "li"), sample = svg(item, "svg", { width: 34, height: 10, "aria-hidden": "true" });
      svg(sample, "path", { d: "M0 5H34", stroke: colour(entry[0]), "stroke-width": 2.5, "stroke-dasharray": entry[1] });
      item.appendChild(document.createTextNode(" " + entry[2]));
    });
  }

  return {
    made: {}, element: element, svg: svg, colour: colour, marks: MARKS, plot: plot, arrow: arrow, slider: slider, choice: choice,
    point: point, readout: readout, key: key,
    interactive: function (name, parts) { this.made[name] = parts; },
    start: function (name, root, data) { this.made[name].start(root, data, this.made[name].compute); }
  };
})();
