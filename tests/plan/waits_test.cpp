// Lanes run beside each other: whoever touches bytes that another lane writes must be ordered with it by waits.
// Every byte of the arena, in the stages of many layouts. The order is worked out here node by node, apart from the
// one that the memory plan uses (plan/happens_before.h).
#include <algorithm>
#include <gtest/gtest.h>

#include "models/presets.h"
#include "plan/config/flag_values.h"
#include "plan/plan.h"

namespace trine {
namespace {

// before(a, b): node a has ended when b begins. A lane runs in order; an action begins when the one before has
// ended in all lanes; the epilogue's collectives may begin as soon as what they wait for has
// ended, even in backward.
class Order {
 public:
  explicit Order(const Graph& graph) : nodes_(graph.nodes()), before_(nodes_.size()) {
    for (size_t b = 0; b < nodes_.size(); ++b) {
      before_[b].assign(nodes_.size(), false);
      for (size_t a = 0; a < b; ++a)
        if (follows(a, b)) add(a, b);
      for (const NodeId wait : nodes_[b].waits) add(static_cast<size_t>(wait.index), b);
    }
  }
  bool before(size_t a, size_t b) const { return before_[b][a]; }

 private:
  bool follows(size_t a, size_t b) const {
    const Node &x = nodes_[a], &y = nodes_[b];
    if (y.region == Region::kEpilogue && y.lane != Lane::kCompute)
      return x.region == Region::kPrologue && x.lane == y.lane;
    if (x.region == Region::kMicrobatch && y.region == Region::kEpilogue) return true;
    if (x.region == Region::kMicrobatch && (x.phase != y.phase || x.chunk != y.chunk)) return true;
    return x.lane == y.lane;
  }
  void add(size_t a, size_t b) {
    if (before_[b][a]) return;
    before_[b][a] = true;
    for (size_t n = 0; n < a; ++n)
      if (before_[a][n]) before_[b][n] = true;
  }

  const std::vector<Node>& nodes_;
  std::vector<std::vector<bool>> before_;
};

class Accesses {
 public:
  Accesses(const StagePlan& stage, Coordinate at)
      : graph_(stage.graph),
        plan_(stage.memory),
        at_(at),
        of_(static_cast<size_t>(plan_.total_bytes() / kUnit) + 1) {
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      const Node& node = graph_.nodes()[n];
      if (node.op->is_view()) continue;
      for (ValueId input : node.inputs) add(n, input, false);
      for (ValueId output : node.outputs) add(n, output, true);
      for (StateId state : node.writes) add(n, graph_[state].value, true);
    }
  }

  // Pairs of lanes that meet on a byte without an order; counts those with one.
  void check(const Order& order) {
    for (const std::vector<Access>& accesses : of_)
      for (size_t b = 0; b < accesses.size(); ++b)
        for (size_t a = 0; a < b; ++a) {
          const auto [x, y] = std::pair(accesses[a], accesses[b]);
          if (lane(x) == lane(y) || !(x.writes || y.writes)) continue;
          if (order.before(x.node, y.node)) {
            ++ordered;
          } else if (problem.empty()) {
            problem = describe(x) + " and " + describe(y);
          }
        }
  }
  int64_t ordered = 0;
  std::string problem;

 private:
  static constexpr int64_t kUnit = 4;  // bytes: an f32
  struct Access {
    size_t node;
    bool writes;
  };

  Lane lane(const Access& access) const { return graph_.nodes()[access.node].lane; }
  std::string describe(const Access& access) const {
    const Node& node = graph_.nodes()[access.node];
    return fmt::format("{} {} ({}, lane {}, {})", access.node, node.op->name(), node.scope, name(node.lane),
                       access.writes ? "writes" : "reads");
  }

  // Where the value lies on this rank, of the first microbatch: as the executor finds it.
  int64_t begin_of(ValueId value) const {
    const StateId state = graph_[value].state;
    if (!state.valid()) return plan_.address(plan_.values[static_cast<size_t>(value.index)], 0);
    int64_t shard = 0;
    for (StateId part = state; graph_[part].storage.valid(); part = graph_[part].storage)
      shard += graph_.first_element(part, at_) - graph_[part].offset;
    return plan_.state_offsets[static_cast<size_t>(state.index)] +
           shard * static_cast<int64_t>(size_bytes(graph_[state].type.dtype));
  }

  void add(size_t node, ValueId value, bool writes) {
    const Shape shape = local_shape(graph_[value].type, graph_.mesh(), at_);
    const auto element = static_cast<int64_t>(size_bytes(graph_[value].type.dtype));
    const int64_t begin = begin_of(value), row_bytes = shape.num_columns() * element;
    const int64_t stride = graph_[value].state.valid()
                               ? row_bytes
                               : plan_.values[static_cast<size_t>(value.index)].row_stride * element;
    for (int64_t row = 0; row < shape.num_rows(); ++row)
      for (int64_t at = begin + row * stride; at < begin + row * stride + row_bytes; at += kUnit)
        of_.at(static_cast<size_t>(at / kUnit)).push_back({node, writes});
  }

  const Graph& graph_;
  const MemoryPlan& plan_;
  const Coordinate at_;
  std::vector<std::vector<Access>> of_;  // by unit of the arena, in program order
};

struct Case {
  std::string name;
  Mesh mesh;
  bool sp = true;
  int zero = 1;
  ScheduleKind schedule = ScheduleKind::k1F1B;
  bool tied = false;
  int64_t kv_heads = 2;
};

Plan plan_of(const Case& c, Recompute recompute) {
  Config config;
  config.model = find_preset("tiny")->model;
  config.model.layers = 5, config.model.hidden = 16, config.model.ffn = 20, config.model.head_dim = 4;
  config.model.vocab = 19, config.model.kv_heads = c.kv_heads, config.model.tie_embeddings = c.tied;
  config.seq = 5, config.micro_batch = 1, config.global_batch = 4 * c.mesh.dp;
  config.mesh = c.mesh;
  config.tp = c.mesh.tp, config.pp = c.mesh.pp, config.zero = c.mesh.dp > 1 ? c.zero : 0;
  config.sequence_parallel = c.mesh.tp > 1 && c.sp;
  config.schedule = c.schedule, config.vpp = c.schedule == ScheduleKind::kInterleaved ? 2 : 1;
  config.dtype = DType::kF32;
  config.recompute = recompute;
  return build_plan(config);
}

class Waits : public testing::TestWithParam<Case> {};

TEST_P(Waits, OrderAllThatMeetsOnAByte) {
  for (const Recompute recompute : {Recompute{}, Recompute{Recompute::Kind::kSelective},
                                    Recompute{Recompute::Kind::kGroup, 2}, Recompute{Recompute::Kind::kFull}}) {
    const Plan plan = plan_of(GetParam(), recompute);
    const Mesh& mesh = plan.config.mesh;
    for (int pp = 0; pp < mesh.pp; ++pp) {
      const StagePlan& stage = plan.stages[static_cast<size_t>(pp)];
      Accesses accesses(stage, {.pp = pp, .dp = mesh.dp - 1, .tp = mesh.tp - 1});
      accesses.check(Order(stage.graph));
      EXPECT_EQ(accesses.problem, "") << "stage " << pp << ", recompute " << ValueText<Recompute>::print(recompute);
      EXPECT_GT(accesses.ordered, 100);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, Waits,
    testing::Values(Case{"tp2", {.tp = 2}, false}, Case{"tp2_sp", {.tp = 2}},
                    Case{"tp4_sp_kv1", {.tp = 4}, true, 0, ScheduleKind::k1F1B, true, 1},
                    Case{"dp2", {.dp = 2}, false, 0}, Case{"dp3_zero", {.dp = 3}},
                    Case{"tp2_dp2_sp_zero", {.dp = 2, .tp = 2}},
                    Case{"tp2_zero_bubble", {.pp = 2, .tp = 2}, true, 0, ScheduleKind::kZeroBubble},
                    Case{"tp2_dp2_zero_bubble", {.pp = 2, .dp = 2, .tp = 2}, false, 1, ScheduleKind::kZeroBubble},
                    Case{"tied", {.pp = 2, .dp = 2, .tp = 2}, true, 1, ScheduleKind::k1F1B, true},
                    Case{"interleaved", {.pp = 2, .dp = 2, .tp = 2}, true, 0, ScheduleKind::kInterleaved}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace trine
