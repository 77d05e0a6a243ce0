// A bandit that chooses among four tasks: the reader sets what progress each of them gives, the bandit's step size and
// its share of uniform choices, and sees the policy after each step.
kit.interactive("bandit", {
  compute: function (s) {  // u, z: random numbers, for the draws and for the progress of the last task
    var K = s.progress.length, w = s.progress.map(function () { return 0; }), history = [], pi = policy();
    var found = { policies: [pi], tasks: [], rewards: [], pulls: w.slice() };
    function policy() {
      var top = Math.max.apply(null, w), soft = w.map(function (v) { return Math.exp(v - top); });
      var sum = soft.reduce(function (a, b) { return a + b; });
      return soft.map(function (v) { return (1 - s.epsilon) * v / sum + s.epsilon / K; });
    }
    function quantile(share) {  // of the history, which is sorted
      var at = share * (history.length - 1), below = Math.floor(at), above = Math.min(below + 1, history.length - 1);
      return history[below] + (at - below) * (history[above] - history[below]);
    }
    function insert(value) {
      var low = 0, high = history.length;
      while (low < high) {
        var middle = (low + high) >> 1;
        if (history[middle] < value) { low = middle + 1; } else { high = middle; }
      }
      history.splice(low, 0, value);
    }
    for (var t = 1; t <= s.steps; t++) {
      var task = 0, sum = pi[0];
      while (task < K - 1 && sum <= s.u[t - 1]) { task += 1; sum += pi[task]; }
      var signal = s.progress[task] + (task === K - 1 ? s.spread * s.z[t - 1] : 0);
      insert(signal);
      var low = quantile(0.2), high = quantile(0.8);
      var reward = high > low ? Math.max(-1, Math.min(1, 2 * (signal - low) / (high - low) - 1)) : 0;
      var grown = w.map(function (v, k) { return v + (k === task ? s.lr * reward / pi[k] : 0); });
      var top = Math.max.apply(null, grown), each = grown.map(function (v) { return Math.exp(v - top); });
      var all = each.reduce(function (a, b) { return a + b; });
      w = each.map(function (v) { return top + Math.log((1 - 1 / t) * v + (all - v) / (t * (K - 1))); });
      pi = policy();
      found.policies.push(pi);
      found.tasks.push(task);
      found.rewards.push(reward);
      found.pulls[task] += 1;
    }
    return found;
  },
  start: function (root, data, compute) {
    var names = data.progress.map(function (_, k) { return "task " + (k + 1); });
    var dashes = ["none", "7 3", "2 3", "9 3 2 3"], controls = kit.element(root, "div");
    var progress = data.progress.map(function (value, k) {
      return kit.slider(controls, { label: "progress, " + names[k], min: 0, max: 1, step: 0.05, value: value }, show);
    });
    var spread = kit.slider(controls, { label: "spread of task 4", min: 0, max: 2, step: 0.1, value: data.spread }, show);
    var lr = kit.slider(controls, { label: "step size \u03b7", min: 0, max: 0.3, step: 0.01, value: data.lr }, show);
    var epsilon = kit.slider(controls, { label: "uniform share \u03b5", min: 0.01, max: 1, step: 0.01, value: data.epsilon }, show);
    var steps = kit.slider(controls, { label: "steps", min: 20, max: data.u.length, step: 20, value: data.steps }, show);
    var place = kit.element(root, "div");
    kit.key(root, names.map(function (name, k) { return [k, dashes[k], name]; }));
    var write = kit.readout(root, names.map(function (name) { return name + ": chance, times drawn"; }));
    function show() {
      var found = compute({
        progress: progress.map(function (slider) { return slider.get(); }), spread: spread.get(), lr: lr.get(),
        epsilon: epsilon.get(), steps: steps.get(), u: data.u, z: data.z
      });
      var last = found.policies[steps.get()];
      place.textContent = "";
      var p = kit.plot(place, {
        x: [0, 1.04 * steps.get()], y: [0, 1], width: 560, height: 300, xlabel: "steps", ylabel: "chance of each task",
        label: "Chances of the four tasks after " + steps.get() + " steps: " + last.map(function (v) { return v.toFixed(2); }).join(", ")
      });
      names.forEach(function (_, k) {
        var line = found.policies.map(function (pi, t) { return [t, pi[k]]; });
        p.line(p.layer(), line, { stroke: kit.colour(k), "stroke-width": 2.5, "stroke-dasharray": dashes[k] });
      });
      write(names.map(function (_, k) { return last[k].toFixed(2) + ", " + found.pulls[k]; }));
    }
    show();
  }
});
