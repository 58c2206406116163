// Other trees of the same times: callers instead of callees, and both sides of one function.

class TreeBuilder {
  constructor(model) {
    this.model = model;
    this.parent = [-1];
    this.name = [-1];
    this.self = [0];
    this.children = new Map();
  }

  child(parent, name) {
    const key = parent * (this.model.names.length + 1) + name;
    let node = this.children.get(key);
    if (node === undefined) {
      node = this.parent.push(parent) - 1;
      this.name.push(name);
      this.self.push(0);
      this.children.set(key, node);
    }
    return node;
  }

  // The path from a node of the model outwards, below `under`; the time stands at its outer end.
  addCallers(under, node, time) {
    const { parent, name } = this.model;
    let at = under;
    for (let each = node; each > 0; each = parent[each]) at = this.child(at, name[each]);
    this.self[at] += time;
  }

  tree() {
    const { parent, name } = this;
    return { model: this.model.like(parent, name), self: Float64Array.from(this.self) };
  }
}

// Inverted: innermost functions first, below each those that called it.
export function callersTree(model, self) {
  const builder = new TreeBuilder(model);
  self.forEach((time, node) => {
    if (time && node) builder.addCallers(0, node, time);
  });
  return builder.tree();
}

// A function's callers, and what it called; a recursive call counts once, as the outermost.
export function bothSides(model, self, name) {
  const { total } = model.layOut(self);
  const [callers, callees] = [new TreeBuilder(model), new TreeBuilder(model)];
  const place = new Int32Array(model.count);
  for (let node = 1; node < model.count; node++) {
    const parent = model.parent[node];
    if (!total[node]) continue;
    if (place[parent]) place[node] = callees.child(place[parent], model.name[node]);
    else if (model.name[node] === name) {
      place[node] = callees.child(0, name);
      callers.addCallers(0, node, total[node]);
    }
    if (place[node]) callees.self[place[node]] += self[node];
  }
  return { callers: callers.tree(), callees: callees.tree() };
}

// The function with most time of its own.
export function hottest(model, self) {
  const times = new Map();
  self.forEach((time, node) => {
    const name = model.name[node];
    if (time && name >= 0 && !model.waits.has(name)) times.set(name, (times.get(name) ?? 0) + time);
  });
  return [...times].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
}
