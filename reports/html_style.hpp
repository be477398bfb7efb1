// The style sheet and the script of the HTML pages. Neither may hold "<", ">" or "&": inside <style> and
// <script> HTML undoes no escape, and the tree that they are put into escapes those three.
#pragma once

namespace reports::page {

inline constexpr const char* style_sheet = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d0d7de;
  --raised: #f6f8fa; --link: #0550ae; --bad: #a40e26; --odd: #7a4d00; --good: #116329; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --quiet: #9aa4af;
  --line: #30363d; --raised: #161b22; --link: #79b8ff; --bad: #ff8b85; --odd: #e3b341; --good: #56d364; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
p { margin: .25rem 0 .75rem; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; }
pre { margin: 0; padding: .5rem .75rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 4px; white-space: pre-wrap; }
nav ul, .ids { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; }
nav ul { gap: .25rem 1.25rem; margin-top: 1rem; }
.ids { gap: .25rem 1rem; }
.counts { list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
.counts li { padding: .5rem .75rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 4px; }
.counts strong { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.counts .none { color: var(--quiet); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0 0 .75rem; }
dt { color: var(--quiet); }
dd { margin: 0; white-space: pre-wrap; }
.headline { font-size: 1.1rem; }
.quiet { color: var(--quiet); }
article { margin: 0 0 1rem; padding: .75rem 1rem 1rem; border: 1px solid var(--line); border-radius: 4px; }
article .rule { font-weight: 600; }
article p { margin: .5rem 0 .25rem; }
.verdict { font-weight: 700; white-space: nowrap; }
.fail, .crash, .hang, .unfinished { color: var(--bad); }
.changed, .known, .fixed { color: var(--odd); }
.pass { color: var(--good); }
.skip { color: var(--quiet); }
details { margin-top: .25rem; }
summary { cursor: pointer; color: var(--link); }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; width: 100%; overflow-wrap: break-word; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; min-width: 9rem; }
.group th { padding-top: 1rem; font-weight: 600; }
td code, th code { white-space: nowrap; }
.number { text-align: right; padding-right: 1.25rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.words { min-width: 8rem; }
.filter { display: block; margin-bottom: .5rem; }
.filter input { font: inherit; width: 20rem; max-width: 100%; padding: .2rem .5rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { nav, .filter { display: none; } body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; } h2, h3, thead { break-after: avoid; } tr { break-inside: avoid; }
  details::details-content { content-visibility: visible; } }
)";

inline constexpr const char* filter_script = R"(
(function () {
  'use strict';
  var table = document.getElementById('all-cases');
  if (!table) return;
  var label = document.createElement('label');
  label.className = 'filter';
  label.textContent = 'Show only rows with ';
  var input = document.createElement('input');
  input.type = 'search';
  label.appendChild(input);
  table.parentNode.parentNode.insertBefore(label, table.parentNode);
  input.addEventListener('input', function () {
    var wanted = input.value.toLowerCase();
    Array.from(table.tBodies).forEach(function (body) {
      var shown = 0;
      Array.from(body.rows).forEach(function (row) {
        if (row.className === 'group') return;
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        if (!row.hidden) shown += 1;
      });
      body.hidden = shown === 0;
    });
  });
}());
)";

} // namespace reports::page
