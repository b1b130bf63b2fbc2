
// The page itself: asks the server every second for what is new, and shows it.

const RECENT_LEN = 600;
const DAY_LEN = 24 * 60;
const PERIOD_MS = 1000;
// So long the numbers may be old before that is said.
const STALE_MS = 2500;

// How much time is shown: the least that all there is fits into; each with the seconds between marks below.
const SPANS = {
  recent: { name: "last 10 minutes", spans: [[120, 30], [300, 60], [600, 120]] },
  day: { name: "last 24 hours", spans: [[600, 120], [3600, 600], [6 * 3600, 3600], [24 * 3600, 4 * 3600]] },
};

const state = {
  columns: new Map(),
  instance: null,
  sequence: 0,
  recent: [],
  day: [],
  range: location.hash === "#day" ? "day" : "recent",
  answeredAt: null,
  failures: 0,
};

const get = (id) => document.getElementById(id);
const column = (name) => (row) => row[state.columns.get(name)] ?? 0;
const put = (id, text) => {
  const target = get(id);
  if (target.textContent !== text) target.textContent = text;
};

const DROPS = [
  { name: "malformed", colour: "slate", of: column("malformed"), hint: "nothing that the server answers" },
  { name: "rate-limited", colour: "amber", of: column("rate_limited"), hint: "too many from one network" },
  { name: "shed", colour: "violet", of: column("shed"), hint: "given up because the server cannot keep up" },
  { name: "kernel", colour: "red", of: column("kernel"), hint: "lost because the receive buffers were full" },
  { name: "not sent", colour: "blue", of: column("send_failed"), hint: "not taken by the kernel for sending" },
];

const CHARTS = [
  {
    title: "Sessions and endpoints",
    unit: "",
    format: formatCount,
    series: [
      { name: "sessions", colour: "teal", of: column("sessions") },
      { name: "endpoints", colour: "blue", of: column("endpoints") },
    ],
  },
  {
    title: "Datagrams",
    unit: "per second",
    format: formatCount,
    series: [
      { name: "received", colour: "teal", of: column("received") },
      { name: "sent", colour: "blue", of: column("sent") },
    ],
  },
  { title: "Dropped datagrams", unit: "per second", format: formatCount, isStacked: true, series: DROPS },
  {
    title: "Memory",
    unit: "of registrations",
    format: formatBytes,
    series: [{ name: "bytes", colour: "violet", of: column("memory") }],
  },
  {
    title: "Relayed",
    unit: "per second",
    format: formatBytes,
    series: [{ name: "bytes", colour: "amber", of: column("relay_bytes") }],
  },
  {
    title: "Relay pairs and TCP connections",
    unit: "",
    format: formatCount,
    series: [
      { name: "relay pairs", colour: "amber", of: column("relay_pairs") },
      { name: "TCP connections", colour: "violet", of: column("tcp_connections") },
    ],
  },
].map((kind) => new Chart(kind, (time, here) => CHARTS.forEach((chart) => chart.setCursor(time, chart === here))));

function accept(report) {
  if (state.instance !== null && state.instance !== report.instance) {
    // Another server, maybe of another version, with another page.
    location.reload();
    return;
  }
  state.instance = report.instance;
  report.columns.forEach((name, number) => state.columns.set(name, number));
  for (const [name, most] of [["recent", RECENT_LEN], ["day", DAY_LEN]]) {
    const last = state[name].length ? state[name][state[name].length - 1][0] : -1;
    // Whoever was away for long, or has asked twice, is told again what is here already.
    state[name] = state[name].concat(report[name].filter((row) => row[0] > last)).slice(-most);
  }
  state.sequence = report.sequence;
  showNumbers(report);
  showCharts();
}

function showNumbers(report) {
  put("version", report.version);
  put("uptime", formatDuration(report.uptime));
  put("health", { ok: "healthy", overloaded: "overloaded", draining: "draining" }[report.health] ?? report.health);
  get("health").dataset.health = report.health;
  const latest = state.recent[state.recent.length - 1];
  if (!latest) return;
  const now = (name) => column(name)(latest);
  const highest = (name) => `highest in 10 min: ${formatCount(Math.max(...state.recent.map(column(name))))}`;
  for (const name of ["sessions", "endpoints", "received", "sent", "relay_pairs", "tcp_connections"]) put(name, formatCount(now(name)));
  for (const name of ["sessions", "received", "sent"]) put(`${name}-note`, highest(name));
  put("tcp-note", highest("tcp_connections"));
  put("memory", formatBytes(now("memory")));
  put("relay-note", `${formatBytes(now("relay_bytes"))}/s forwarded`);
  put("endpoints-note", `of ${formatCount(report.max_endpoints)} at most`);
  put("memory-note", `of ${formatBytes(report.max_memory)} at most`);
  fill("endpoints-meter", now("endpoints"), report.max_endpoints);
  fill("memory-meter", now("memory"), report.max_memory);
  const drops = DROPS.map(({ name, of }) => [name, of(latest)]).filter(([, value]) => value > 0);
  put("dropped", formatCount(drops.reduce((sum, [, value]) => sum + value, 0)));
  put("dropped-note", drops.map(([name, value]) => `${formatCount(value)} ${name}`).join(" · ") || "nothing is dropped");
  const isBad = ["shed", "kernel", "send_failed"].some((name) => now(name) > 0);
  get("dropped-tile").classList.toggle("is-bad", isBad);
  get("dropped-tile").classList.toggle("is-warning", !isBad && drops.length > 0);
  document.title = `${formatCount(now("sessions"))} sessions · hp-server`;
}

function fill(id, value, most) {
  const share = Math.min(value / most, 1);
  const meter = get(id);
  meter.setAttribute("aria-valuenow", (share * 100).toFixed(1));
  meter.setAttribute("aria-valuetext", `${(share * 100).toFixed(1)} %`);
  meter.classList.toggle("is-full", share > 0.9);
  meter.firstElementChild.style.width = `${share * 100}%`;
}

// The minutes, and what there is of the one that is not over yet.
function dayRows() {
  const last = state.day.length ? state.day[state.day.length - 1][0] : null;
  if (last === null) return state.recent;
  const rest = state.recent.filter((row) => row[0] > last);
  if (!rest.length) return state.day;
  const mean = rest[0].map((_, number) => rest.reduce((sum, row) => sum + row[number], 0) / rest.length);
  mean[0] = rest[rest.length - 1][0];
  return [...state.day, mean];
}

function showCharts() {
  const latest = state.recent[state.recent.length - 1];
  const rows = state.range === "day" ? dayRows() : state.recent;
  const end = latest ? latest[0] : 0;
  const { name, spans } = SPANS[state.range];
  const needed = rows.length ? end - rows[0][0] : 0;
  const [span, step] = spans.find(([seconds]) => seconds >= needed - 5) ?? spans[spans.length - 1];
  const marks = [];
  for (let ago = 0; ago <= span; ago += step) marks.push([ago, ago ? `−${markLabel(ago)}` : "now"]);
  const seen = new Date();
  const label = (time) => {
    const ago = end - time;
    const clock = new Date(seen - ago * 1000).toLocaleTimeString([], { hour12: false });
    return ago < 1 ? `${clock}, now` : `${clock}, ${formatDuration(ago)} ago`;
  };
  const view = { rows: rows.filter((row) => row[0] >= end - span), end, span, marks, label, name };
  CHARTS.forEach((chart) => chart.show(view, latest));
}

function markLabel(seconds) {
  if (seconds % 3600 === 0) return `${seconds / 3600} h`;
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

function setRange(range) {
  state.range = range;
  for (const name of Object.keys(SPANS)) get(`range-${name}`).setAttribute("aria-pressed", String(name === range));
  history.replaceState(null, "", range === "day" ? "#day" : location.pathname);
  showCharts();
}

// Says so if the numbers are old.
function showStale() {
  const isStale = state.failures > 0 && (state.answeredAt === null || Date.now() - state.answeredAt > STALE_MS);
  get("stale").hidden = !isStale;
  document.body.classList.toggle("is-stale", isStale);
  if (!isStale) return;
  const since = state.answeredAt === null ? null : new Date(state.answeredAt).toLocaleTimeString([], { hour12: false });
  put("stale", since === null ? "The server does not answer." : `Stale since ${since}: the server does not answer. All numbers are of then.`);
  put("health", "no answer");
  get("health").dataset.health = "gone";
}

async function poll() {
  if (document.hidden) return;
  let report = null;
  try {
    const answer = await fetch(`/status.json?since=${state.sequence}`, { signal: AbortSignal.timeout(4000) });
    if (answer.ok) report = await answer.json();
  } catch {
    // That none came is told on the page.
  }
  if (report === null) {
    state.failures += 1;
  } else {
    state.answeredAt = Date.now();
    state.failures = 0;
    accept(report);
  }
  showStale();
}

async function keepPolling() {
  for (;;) {
    const start = Date.now();
    await poll().catch((error) => console.error(error));
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, PERIOD_MS - (Date.now() - start))));
  }
}

get("charts").append(...CHARTS.map((chart) => chart.figure));
for (const name of Object.keys(SPANS)) get(`range-${name}`).addEventListener("click", () => setRange(name));
document.addEventListener("visibilitychange", poll);
setRange(state.range);
keepPolling();
