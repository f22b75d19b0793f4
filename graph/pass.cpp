#include "graph/pass.h"

#include <algorithm>
#include <fmt/format.h>
#include <ostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "graph/printer.h"
#include "graph/verifier.h"

namespace trine {
namespace {

void check_names(const PassOptions& options, const std::vector<Pass>& passes) {
  std::vector<std::string> all, optional;
  for (const Pass& pass : passes) {
    all.push_back(pass.name);
    if (pass.optional) optional.push_back(pass.name);
  }
  Problems problems;
  const auto check = [&](const std::set<std::string>& names, const std::vector<std::string>& allowed,
                         const char* flag) {
    for (const std::string& name : names) {
      if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
      const auto guess = nearest(name, allowed);
      problems.add(flag, "no such pass: {}{}. It takes one of: {}.", name,
                   guess ? fmt::format(" (did you mean {}?)", *guess) : "", fmt::join(allowed, ", "));
    }
  };
  check(options.disabled, optional, "--disable-pass");
  check(options.dumped, all, "--dump-pass");
  problems.throw_if_any();
}

}  // namespace

Graph PassRunner::run(Graph graph, const std::vector<Pass>& passes) {
  check_names(options_, passes);
  for (const Pass& pass : passes) {
    const bool dump = options_.dumped.contains(pass.name);
    PassTiming timing{.name = pass.name, .nodes_before = graph.nodes().size()};
    if (options_.disabled.contains(pass.name)) {
      timing.skipped = true;
      timing.nodes_after = timing.nodes_before;
      timings_.push_back(timing);
      continue;
    }
    if (dump) *options_.dump << "=== before " << pass.name << " ===\n" << print(graph);
    const int64_t begin_ns = now_ns();
    graph = pass.run(std::move(graph));
    timing.seconds = seconds_since(begin_ns);
    timing.nodes_after = graph.nodes().size();
    timings_.push_back(timing);
    try {
      if (options_.verify) verify(graph);
    } catch (const TypeError& error) {
      throw TypeError(fmt::format("after pass {}: {}", pass.name, error.what()));
    }
    if (dump) *options_.dump << "=== after " << pass.name << " ===\n" << print(graph);
  }
  return graph;
}

}  // namespace trine
