// Passes are pure functions from graph to graph. All of them run through one runner: named, timed, switchable,
// verified after, and dumpable before and after as text.
#pragma once

#include <functional>
#include <iosfwd>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace trine {

struct Pass {
  std::string name;
  std::function<Graph(Graph)> run;
  bool optional = false;  // may be switched off with --disable-pass
};

struct PassOptions {
  std::set<std::string> disabled, dumped;
  std::ostream* dump = nullptr;  // where dumped passes print; needed if `dumped` is not empty
  bool verify = true;            // the graph after each pass; it takes longer than the passes
};

struct PassTiming {
  std::string name;
  double seconds = 0;
  size_t nodes_before = 0, nodes_after = 0;
  bool skipped = false;
};

class PassRunner {
 public:
  explicit PassRunner(PassOptions options) : options_(std::move(options)) {}

  // Runs the passes in order. ConfigError if an option names no pass, or disables one that is not optional.
  Graph run(Graph graph, const std::vector<Pass>& passes);
  const std::vector<PassTiming>& timings() const { return timings_; }

 private:
  PassOptions options_;
  std::vector<PassTiming> timings_;
};

}  // namespace trine
