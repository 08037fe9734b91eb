"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [];
  const paint = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = i => paint("--c" + (i % 8));
  const ms = us => us == null ? "" : us >= 1e6 ? (us / 1e6).toPrecision(3) + " s" : us >= 1000 ? (us / 1000).toPrecision(3) + " ms" : us.toFixed(0) + " µs";
  const number = v => v == null ? "" : v >= 100 ? Math.round(v).toLocaleString("en") : v >= 1 ? String(+v.toFixed(1)) : String(+v.toPrecision(2));
  const clock = s => s >= 3600 ? Math.floor(s / 3600) + "h" + String(Math.floor(s / 60) % 60).padStart(2, "0") : s >= 120 ? (s / 60).toFixed(s % 60 ? 1 : 0) + " min" : s + " s";
  const inX = clock, width = host => Math.max(320, host.clientWidth);

  function axes(yText, x, splits) {
    const base = { stroke: paint("--soft"), grid: { stroke: paint("--line"), width: 1 }, ticks: { stroke: paint("--line") }, font: "12px system-ui, sans-serif" };
    return [{ ...base, values: (u, v) => v.map(x || inX), ...(splits ? { splits: () => splits } : {}) }, { ...base, size: 64, values: (u, v) => v.map(yText) }];
  }
  function chart(id, columns, lines, options) {
    const host = document.getElementById(id);
    if (!host || !columns[0].length) return;
    host.replaceChildren();
    const log = options.log && columns.slice(1).some(c => c.some(v => v > 0));
    const scales = { x: { time: false, ...(options.range ? { range: options.range } : {}) }, y: log ? { distr: 3, log: 10 } : { range: (u, low, high) => [0, (high || 1) * 1.08] } };
    const values = log ? columns.map((c, i) => i ? c.map(v => v > 0 ? v : null) : c) : columns;
    const series = [{ label: options.xLabel || "time", value: (u, v) => v == null ? "" : (options.x || inX)(v) },
      ...lines.map(line => ({ label: line.label, stroke: colour(line.colour), width: line.thin ? 1 : 2, dash: line.dash, fill: line.fill ? colour(line.colour) + "26" : undefined,
        points: { show: values[0].length < 3, size: 4 }, value: (u, v) => v == null ? "" : options.y(v) }))];
    const tight = log ? axes(v => v == null ? "" : options.y(v), options.x, options.splits) : axes(options.y, options.x, options.splits);
    plots.push(new uPlot({ width: width(host), height: options.height || 240, scales, series, axes: tight, cursor: { drag: { x: true, y: false } } }, values, host));
  }
  function heat(id, map) {
    const host = document.getElementById(id);
    if (!host || !map.rows.length) return;
    host.replaceChildren();
    const canvas = document.createElement("canvas"), ratio = window.devicePixelRatio || 1, w = width(host), h = 240, left = 64, bottom = 26;
    canvas.className = "heat"; canvas.width = w * ratio; canvas.height = h * ratio; canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", "latency over time, darker where more operations ended");
    host.append(canvas);
    const g = canvas.getContext("2d"); g.scale(ratio, ratio);
    const columns = map.rows.length, tall = map.edges.length - 1, cw = (w - left - 8) / columns, ch = (h - bottom - 6) / tall;
    let most = 1; for (const row of map.rows) for (const v of row) most = Math.max(most, v);
    const base = paint("--c0");
    map.rows.forEach((row, x) => row.forEach((v, y) => { if (!v) return;
      g.globalAlpha = 0.12 + 0.88 * Math.log(1 + v) / Math.log(1 + most); g.fillStyle = base;
      g.fillRect(left + x * cw, 6 + (tall - 1 - y) * ch, Math.max(cw - (cw > 4 ? 0.5 : 0), 0.8), Math.max(ch - 0.5, 0.8)); }));
    g.globalAlpha = 1; g.fillStyle = paint("--soft"); g.strokeStyle = paint("--line"); g.font = "12px system-ui, sans-serif"; g.textBaseline = "middle"; g.textAlign = "right";
    const every = Math.max(1, Math.ceil(tall / 7));
    for (let y = 0; y <= tall; y += every) g.fillText(ms(map.edges[y]), left - 8, 6 + (tall - y) * ch);
    g.textAlign = "center";
    for (let i = 0; i <= 6; i++) { const x = left + (w - left - 8) * i / 6; g.fillText(clock(Math.round(map.seconds * i / 6)), Math.min(x, w - 22), h - 10); }
    g.strokeRect(left, 6, w - left - 8, tall * ch);
  }
  function draw() {
    plots.splice(0).forEach(p => p.destroy());
    const s = data.streams, t = s.length ? s[0].t : [];
    chart("rate", [t, ...s.flatMap(one => one.open ? [one.intended, one.done] : [one.done])], s.flatMap((one, i) => one.open
      ? [{ label: one.name + " intended", colour: i, dash: [5, 4], thin: true }, { label: one.name + " achieved", colour: i }] : [{ label: one.name + " achieved", colour: i }]), { y: v => number(v) });
    s.forEach((one, i) => chart("latency-" + i, [t, one.rp50, one.rp99, one.rmax, one.sp50, one.sp99], [
      { label: "response p50", colour: 0 }, { label: "response p99", colour: 1 }, { label: "response max", colour: 4, thin: true }, { label: "service p50", colour: 0, dash: [5, 4], thin: true }, { label: "service p99", colour: 1, dash: [5, 4], thin: true }], { y: ms, log: true }));
    const marks = data.nines;
    chart("nines", [marks, ...s.map(one => one.curve), ...s.filter(one => one.service_curve).map(one => one.service_curve), ...s.filter(one => one.base_curve).map(one => one.base_curve)], [
      ...s.map((one, i) => ({ label: one.name + " response", colour: i })), ...s.filter(one => one.service_curve).map(one => ({ label: one.name + " service", colour: s.indexOf(one), thin: true, dash: [2, 3] })),
      ...s.filter(one => one.base_curve).map(one => ({ label: one.name + " baseline", colour: s.indexOf(one), dash: [9, 5] }))],
      { y: ms, log: true, height: 280, splits: marks.filter(v => v === 0 || v === 0.3 || v % 1 === 0), x: v => v <= 0 ? "0 %" : +(100 * (1 - Math.pow(10, -v))).toFixed(Math.max(0, Math.ceil(v) - 2)) + " %", xLabel: "percentile" });
    s.forEach((one, i) => heat("heat-" + i, one.heat));
    chart("throughput", [t, ...s.map(one => one.mb)], s.map((one, i) => ({ label: one.name + " MB/s", colour: i, fill: true })), { y: v => number(v) });
    chart("errors", [t, ...s.map(one => one.errors)], s.map((one, i) => ({ label: one.name + " errors/s", colour: i, fill: true })), { y: v => number(v), height: 160 });
    chart("associations", [t, ...s.map(one => one.associations), ...s.map(one => one.waiting)], [
      ...s.map((one, i) => ({ label: one.name + " associations", colour: i })), ...s.map((one, i) => ({ label: one.name + " waiting", colour: i, dash: [5, 4], thin: true }))], { y: v => number(v), height: 180 });
  }
  draw();
  let timer; const again = () => { clearTimeout(timer); timer = setTimeout(draw, 150); };
  addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("print").addEventListener("change", draw);
  addEventListener("beforeprint", () => { document.querySelectorAll("details").forEach(d => { d.open = true; }); draw(); });
})();
