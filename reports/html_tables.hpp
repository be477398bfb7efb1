// The tables of the HTML pages. Internal to reports.
#pragma once

#include "reports/html_page.hpp"
#include "reports/result.hpp"
#include "reports/results_json.hpp"

#include <functional>
#include <string>
#include <vector>

namespace reports {

// The place on the page of the case at `number` in RunResult::cases.
std::string case_anchor(std::size_t number);
void add_verdict(page::Node parent, Verdict verdict); // as a word; its colour only repeats it

// Each case of the run and each planned one without a verdict, grouped by suite and area. Ids are links where
// `has_article`.
void add_all_cases(page::Node section, const RunResult& run,
                   const std::function<bool(const CaseResult&)>& has_article);
// The skipped ones, by what is missing.
void add_skips(page::Node section, const RunResult& run);
// A table for each case that measured, its rows grouped by load and metric.
void add_measurements(page::Node section, const RunResult& run);
void add_timings(page::Node section, const std::vector<Timing>& timings);
void add_kernels(page::Node section, const std::vector<IndexEntry>& runs);

} // namespace reports
