// One accuracy matrix, many measures: the reader edits the matrix, and sees each measure under each convention.
kit.interactive("conventions", {
  compute: function (s) {  // matrix: T + 1 rows (0: before training) of T accuracies; the measures, in its unit
    var A = s.matrix, T = A[0].length, last = A[T];
    function mean(values) { return values.reduce(function (a, b) { return a + b; }, 0) / values.length; }
    function column(j, from, to) {  // accuracies on task j (0 ..) in rows from .. to
      return A.slice(from, to + 1).map(function (row) { return row[j]; });
    }
    function earlier(f) { var found = []; for (var j = 0; j < T - 1; j++) { found.push(f(j)); } return mean(found); }
    function fallen(from, to) {  // mean over the earlier tasks of the best in rows from(j) .. to, less the last
      return earlier(function (j) { return Math.max.apply(null, column(j, from(j), to)) - last[j]; });
    }
    function triangle(f, keep) {  // mean of f(i, j) over the rows i and tasks j (both from 1) that are kept
      var found = [];
      for (var i = 1; i <= T; i++) { for (var j = 1; j <= T; j++) { if (keep(i, j)) { found.push(f(i, j)); } } }
      return mean(found);
    }
    function at(i, j) { return A[i][j - 1]; }
    function own(j) { return j + 1; }
    function below(i, j) { return i > j; }
    var gain = earlier(function (j) { return A[j + 1][j + 1] - A[0][j + 1]; });
    return {
      average: mean(last),
      learned: mean(last.map(function (_, j) { return A[j + 1][j]; })),
      forgetting: fallen(own, T - 1),
      backward: earlier(function (j) { return last[j] - A[j + 1][j]; }),
      forward: gain,
      forgetting_before: fallen(function () { return 1; }, T - 1),
      forgetting_last: fallen(own, T),
      forward_over_all: gain * (T - 1) / T,
      forward_plain: earlier(function (j) { return A[j + 1][j + 1]; }),
      average_throughout: triangle(at, function (i, j) { return i >= j; }),
      backward_throughout: triangle(function (i, j) { return at(i, j) - at(j, j); }, below),
      forward_throughout: triangle(at, function (i, j) { return i < j; })
    };
  },
  start: function (root, data, compute) {
    var names = ["task 1", "task 2", "task 3"], dashes = ["none", "7 3", "2 3"];
    var rows = ["before training", "after task 1", "after task 2", "after task 3"];
    var matrix = data.presets[data.value].map(function (row) { return row.slice(); });
    var presets = kit.choice(root, { legend: "Begin with", labels: data.names, value: data.value }, function (number) {
      matrix = data.presets[number].map(function (row) { return row.slice(); });
      fields.forEach(function (row, i) { row.forEach(function (field, j) { field.value = matrix[i][j]; }); });
      note.textContent = "";
      show();
    });
    var table = kit.element(root, "table", { "aria-label": "The accuracy matrix, in percent" });
    var head = kit.element(table, "tr");
    kit.element(head, "th", { scope: "col", style: "text-align:left;padding-right:1.2rem" }, "accuracy (%) on");
    names.forEach(function (name) { kit.element(head, "th", { scope: "col" }, name); });
    var fields = rows.map(function (label, i) {
      var line = kit.element(table, "tr");
      kit.element(line, "th", { scope: "row", style: "font-weight:400;text-align:left" }, label);
      return names.map(function (name, j) {
        var cell = kit.element(line, "td", { class: "kit-fields", style: "display:table-cell" });
        var field = kit.element(cell, "input", {
          type: "number", min: 0, max: 100, step: 1, value: matrix[i][j], "aria-label": label + ", " + name,
          style: i === j + 1 ? "font-weight:700" : ""
        });
        field.addEventListener("input", function () {
          var typed = parseFloat(field.value), used = Math.min(100, Math.max(0, typed));
          if (isFinite(typed)) { matrix[i][j] = used; }
          note.textContent = used === typed ? "" : "An accuracy is a number from 0 to 100. Computed with "
            + matrix[i][j] + ".";
          show();
        });
        field.addEventListener("change", function () { field.value = matrix[i][j]; });  // what is computed with
        return field;
      });
    });
    var note = kit.element(root, "div", { role: "status" }), place = kit.element(root, "div");
    kit.key(root, names.map(function (name, j) { return [j, dashes[j], name]; }));
    kit.element(root, "div", {}, "Marks: each task just after its turn (bold in the matrix).");
    function group(title, labels) {
      kit.element(root, "div", { style: "font-weight:600;margin-top:0.7rem" }, title);
      return kit.readout(root, labels);
    }
    var ours = ["average", "learned", "forgetting", "backward", "forward"];
    var others = [
      "forgetting_before", "forgetting_last", "forward_over_all", "forward_plain", "average_throughout",
      "backward_throughout", "forward_throughout"
    ];
    var write = group("This book", [
      "average accuracy", "learned accuracy", "forgetting", "backward transfer", "forward transfer"
    ]);
    var add = group("Other conventions", [
      "forgetting, rows before learning count", "forgetting, last row counts", "forward transfer over T",
      "forward transfer, no baseline", "accuracy, triangle", "backward transfer, triangle", "forward transfer, triangle"
    ]);
    function text(value) { return (Math.round(10 * value) / 10 + 0).toFixed(1).replace("-", "\u2212"); }
    function show() {
      var found = compute({ matrix: matrix });
      write(ours.map(function (name) { return text(found[name]); }));
      add(others.map(function (name) { return text(found[name]); }));
      place.textContent = "";
      var p = kit.plot(place, {
        x: [-0.15, 3.15], y: [0, 100],  // ticks at whole tasks
        height: 230, xlabel: "tasks trained", ylabel: "accuracy (%)",
        label: "Accuracy on each task against tasks trained: " + names.map(function (name, j) {
          return name + " " + matrix.map(function (row) { return row[j]; }).join(", ");
        }).join("; ")
      });
      var layer = p.layer();
      names.forEach(function (_, j) {
        p.line(layer, matrix.map(function (row, i) { return [i, row[j]]; }), {
          stroke: kit.colour(j), "stroke-width": 2.5, "stroke-dasharray": dashes[j]
        });
        kit.svg(p.group, "path", {  // where the task has just been learned
          d: kit.marks[j], fill: kit.colour(j), class: "kit-outline",
          transform: "translate(" + p.x(j + 1) + " " + p.y(matrix[j + 1][j]) + ")"
        });
      });
    }
    show();
  }
});
