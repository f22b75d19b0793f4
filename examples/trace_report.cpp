// trace_report: which rank, link, operation or stage makes the steps of a trace long, and what to change.
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "analysis/report/diff.h"
#include "analysis/report/html.h"
#include "analysis/report/report_json.h"
#include "analysis/report/report_text.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/output_file.h"
#include "base/program.h"
#include "examples/commands.h"
#include "examples/program_flags.h"
#include "plan/config/flag_values.h"
#include "trace/merge.h"
#include "trace/trace_reader.h"

namespace trine {
namespace {

struct Request {
  std::vector<std::string> inputs;
  std::string steps, ranks, cluster, merge, diff, diff_steps, html;
  int top = 10;
  bool as_json = false;
};

template <typename T>
T value_of(const std::string& flag, const std::string& text, Problems& problems) {
  if (const auto value = ValueText<T>::parse(text)) return *value;
  problems.add("flags", "{} is {}, need {}.", flag, text, ValueText<T>::needs());
  return T{};
}

// "7", "A:B", "A:" or ":B".
std::pair<int64_t, int64_t> steps_of(const std::string& flag, const std::string& text, Problems& problems) {
  const TraceSelection all;
  std::pair steps{all.first_step, all.last_step};
  if (text.empty()) return steps;
  const size_t colon = text.find(':');
  const auto read_end = [&](std::string_view end, int64_t open) {
    return end.empty() && text.size() > 1 ? open : ValueText<int64_t>::parse(end).value_or(0);
  };
  steps.first = read_end(std::string_view(text).substr(0, colon), all.first_step);
  steps.second =
      colon == text.npos ? steps.first : read_end(std::string_view(text).substr(colon + 1), all.last_step);
  if (steps.first < 1 || steps.second < steps.first)
    problems.add("flags", "{} is {}, need a step, or A:B with 1 <= A <= B (A: and :B leave an end open).", flag,
                 text);
  return steps;
}

Trace read(const std::vector<std::string>& inputs, const TraceSelection& selection) {
  std::vector<std::filesystem::path> files;
  for (const std::string& input : inputs)
    for (std::filesystem::path& file : trace_files(input)) files.push_back(std::move(file));
  return read_trace(files, selection);
}

// Of a run's metrics.jsonl; none of other folders. A line that is no JSON, the last of a run that was killed, ends them.
std::vector<std::pair<int, double>> losses_of(const std::string& run) {
  std::vector<std::pair<int, double>> losses;
  std::ifstream file(std::filesystem::path(run) / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) break;
    if (json.contains("loss") && json["loss"].is_number() && json.contains("step") && json["step"].is_number())
      losses.emplace_back(json["step"].get<int>(), json["loss"].get<double>());
  }
  return losses;
}

// With the cluster that was named, or that a predicted trace was predicted for.
void explain(const Request& request, Report& report) {
  const auto config = config_of_run(request.inputs[0], report.mesh.num_ranks());
  const std::string cluster = request.cluster.empty() && config ? config->cluster : request.cluster;
  if (cluster.empty()) return;
  if (!config)
    throw ConfigError(fmt::format(
        "[flags] --cluster explains a run, but there is no config.json in {} or above it. Name the run's folder.",
        request.inputs[0]));
  add_explanation(report, explain_run(*config, cluster));
}

ExitCode run(int argc, const char* const* argv) {
  Request request;
  CLI::App app(
      "Which rank, link, operation or stage makes the steps of a trace long, by how much, and what to change. "
      "Reads what train_llama --trace on (or --dry-run --predict-trace DIR) has written.",
      "trace_report");
  app.add_option("RUN", request.inputs, "a run's folder, a folder of traces, or trace files")
      ->type_name("RUN|DIR|FILE...");
  app.add_option("--steps", request.steps, "these alone, both ends included (default: all)")
      ->type_name("A:B")
      ->group("What is read");
  app.add_option("--ranks", request.ranks, "these alone, such as 0,3,8:15 (default: all)")
      ->type_name("LIST")
      ->group("What is read");
  app.add_option("--diff", request.diff, "what changed since that run, and what of it the step felt")
      ->type_name("OTHER")
      ->group("What is said");
  app.add_option("--diff-steps", request.diff_steps, "of OTHER (default: as --steps)")
      ->type_name("A:B")
      ->group("What is said");
  app.add_option("--cluster", request.cluster,
                 "explains the step by the peak and links of what the run ran on, and what would shorten it "
                 "(default of a predicted trace: its own)")
      ->type_name("NAME|FILE")
      ->group("What is said");
  with_numbers<int>(app.add_option("--top", request.top, "rows of a table (default: 10)"))
      ->type_name("K")
      ->group("What is said");
  app.add_flag("--json", request.as_json, "prints JSON")->group("What is said");
  app.add_option("--html", request.html,
                 "writes the report as a page: one file, with a timeline; no network is needed")
      ->type_name("FILE")
      ->group("What is written");
  app.add_option("--merge", request.merge,
                 "writes one file of all ranks, for Perfetto; compressed if it ends in .gz")
      ->type_name("FILE.json.gz")
      ->group("What is written");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;
  if (request.inputs.empty())
    problems.add("flags", "no RUN. Name a run's folder, a folder of traces, or trace files.");
  if (request.top < 1) problems.add("flags", "--top is {}, need 1 or more.", request.top);
  if (request.diff.empty() && !request.diff_steps.empty())
    problems.add("flags", "--diff-steps says which steps of OTHER: give --diff OTHER too.");
  TraceSelection selection, of_other;
  std::tie(selection.first_step, selection.last_step) = steps_of("--steps", request.steps, problems);
  if (!request.ranks.empty()) selection.ranks = value_of<RankList>("--ranks", request.ranks, problems);
  of_other = selection;
  if (!request.diff_steps.empty())
    std::tie(of_other.first_step, of_other.last_step) = steps_of("--diff-steps", request.diff_steps, problems);
  problems.throw_if_any();

  const Trace trace = read(request.inputs, selection);
  if (!request.merge.empty()) {
    write_merged_trace(trace, request.merge);
    say(stderr, "{} holds {} ranks. Open it in https://ui.perfetto.dev\n", request.merge, trace.ranks.size());
  }
  Report report = analyse(trace);
  explain(request, report);
  if (!request.html.empty()) {
    write_page(request.html, report_html(trace, report, request.inputs[0], losses_of(request.inputs[0])));
    say(stderr, "{}: open it in a browser\n", request.html);
  }
  std::optional<ReportDiff> changes;
  if (!request.diff.empty()) changes = diff(analyse(read({request.diff}, of_other)), report);
  if (request.as_json) {
    nlohmann::ordered_json json = report_json(report);
    if (changes) json["diff"] = diff_json(*changes);
    say(stdout, "{}\n", json.dump(1));
  } else if (changes) {
    say(stdout, "{}", diff_text(*changes, request.diff, request.inputs[0], request.top));
  } else {
    say(stdout, "{}", report_text(report, request.inputs[0], request.top));
  }
  return ExitCode::kOk;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) { return trine::run_program("trace_report", trine::run, argc, argv); }
