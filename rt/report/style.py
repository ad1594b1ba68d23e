"""The page's style sheet: readable on a phone and on paper, dark where the reader's screen is.

Called by: rt.report.page. Calls: nothing.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --dim: #5b6577; --paper: #fbfbfd;
  --card: #ffffff; --line: #dfe3ea; --good: #1d7f4e; --bad: #b3261e; --warn: #8a5a00;
  --info: #2f5fa8; --before: #b58900; --after: #2f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaf0; --dim: #9aa4b5; --paper: #14171d; --card: #1c2028; --line: #313845;
    --good: #5fd39a; --bad: #ff8a80; --warn: #f0b95a; --info: #8ab4f8; --before: #e0b040;
    --after: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
p { margin: .25rem 0; } .dim, caption { color: var(--dim); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .9rem 1rem; margin: .6rem 0; }
.head { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: center; }
.score { font-size: 3.2rem; font-weight: 700; line-height: 1; }
.areas { flex: 1 1 18rem; display: grid; grid-template-columns: max-content 1fr max-content;
  gap: .2rem .7rem; align-items: center; font-size: .95rem; }
meter { width: 100%; height: .8rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.info { color: var(--info); }
.tag { display: inline-block; min-width: 4.5rem; font-weight: 600; }
details { border-top: 1px solid var(--line); padding: .35rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; margin: .4rem 0;
  font-size: .93rem; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .2rem 0; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; } td.text { white-space: normal; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); } svg .after { fill: var(--after); opacity: .8; }
svg .before { fill: none; stroke: var(--before); stroke-width: 2; }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 .8rem;
  background: var(--after); } .key.was { background: none; border: 2px solid var(--before); }
@media print { details > * { display: block; } body { max-width: none; } }
"""
