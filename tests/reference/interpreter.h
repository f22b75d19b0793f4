// Runs a stage graph in f64, for all ranks of its mesh at once: a value is one local shard per rank, and a
// collective is arithmetic between them. Every output that its type calls invariant or replicated
// is checked to be so.
#pragma once

#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "tests/reference/ops.h"
#include "tests/reference/tensor.h"

namespace trine::reference {

class Interpreter {
 public:
  // States start as zeros, gradient accumulators as NaN: the first write of a step must overwrite them.
  explicit Interpreter(Graph graph);

  // Logical tensors (shard(), unshard() in tensor.h).
  void set(std::string_view state, const Tensor& logical);
  Tensor get(std::string_view state) const;
  Tensor get(ValueId value) const;  // as the last microbatch left it
  HostInputs& host() { return host_; }

  // Prologue, `num_microbatches` times the microbatch region in program order, epilogue.
  void run_step(int num_microbatches = 1);

 private:
  using Shards = std::vector<Tensor>;  // by rank

  std::pair<StateId, int64_t> home(StateId state, size_t rank) const;
  Shards load(StateId state) const;
  void store(StateId state, const Shards& shards);
  Shards read(ValueId value) const;
  void run(const Node& node, int microbatch);
  Shards zeros(const TensorType& type) const;

  Graph graph_;
  std::vector<Shards> states_, values_;
  std::set<StateId> written_;  // in this step
  HostInputs host_;
};

}  // namespace trine::reference
