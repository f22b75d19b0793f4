// The memory plan, held against an execution: a shadow memory that knows, for each byte, which value wrote it last.
#include "plan/memory_plan.h"

#include <gtest/gtest.h>
#include <numeric>

#include "models/presets.h"
#include "plan/happens_before.h"
#include "plan/packing.h"
#include "plan/plan.h"

namespace trine {
namespace {

Config small_config(int64_t micro_batch) {
  Config config;
  config.model = find_preset("tiny")->model;
  config.model.layers = 3, config.model.hidden = 32, config.model.ffn = 40, config.model.head_dim = 8;
  config.seq = 6, config.global_batch = 8, config.micro_batch = micro_batch;
  return config;
}

// Runs the schedule in order and checks that whoever reads finds the bytes that the producer wrote.
class ShadowExecution {
 public:
  ShadowExecution(const Graph& graph, const Schedule& schedule, const MemoryPlan& plan)
      : graph_(graph), schedule_(schedule), plan_(plan), owner_(static_cast<size_t>(plan.total_bytes()), -1) {}

  void run() {
    region(Region::kPrologue);
    for (const Action& action : schedule_) {
      if (action.kind == ActionKind::kForward) phase(Phase::kForward, action.microbatch);
      if (action.kind != ActionKind::kForward) phase(Phase::kInputGrad, action.microbatch);
      if (action.kind != ActionKind::kForward) phase(Phase::kWeightGrad, action.microbatch);
    }
    region(Region::kEpilogue);
  }
  int64_t checked_bytes() const { return checked_; }

 private:
  void region(Region region) {
    for (const Node& node : graph_.nodes())
      if (node.region == region && region != Region::kMicrobatch) execute(node, 0);
  }
  void phase(Phase phase, int microbatch) {
    for (const Node& node : graph_.nodes())
      if (node.region == Region::kMicrobatch && node.phase == phase) execute(node, microbatch);
  }

  void execute(const Node& node, int microbatch) {
    for (ValueId input : node.inputs)
      if (!graph_[input].state.valid())
        for_each_byte(input, microbatch, [&](int64_t& owner) {
          ASSERT_EQ(owner, tag(input, microbatch))
              << node.scope << ": " << node.op->name() << " reads %" << input.index;
          ++checked_;
        });
    for (ValueId output : node.outputs)
      for_each_byte(output, microbatch, [&](int64_t& owner) { owner = tag(output, microbatch); });
  }

  int64_t tag(ValueId value, int microbatch) const { return int64_t{value.index} * 1000 + microbatch; }

  template <typename F>
  void for_each_byte(ValueId value, int microbatch, F&& f) {
    const ValuePlace& place = plan_.values[static_cast<size_t>(value.index)];
    const int frame = plan_.frame_of_microbatch[static_cast<size_t>(microbatch)];
    const int64_t base =
        (place.where == ValuePlace::Where::kFrame ? plan_.frame_begin(frame) : plan_.transients_begin()) +
        place.offset;
    const Shape shape = graph_[value].type.shape;
    const auto element = static_cast<int64_t>(size_bytes(graph_[value].type.dtype));
    for (int64_t row = 0; row < shape.num_rows(); ++row)
      for (int64_t byte = 0; byte < shape.num_columns() * element; ++byte)
        f(owner_.at(static_cast<size_t>(base + row * place.row_stride * element + byte)));
  }

  const Graph& graph_;
  const Schedule& schedule_;
  const MemoryPlan& plan_;
  std::vector<int64_t> owner_;
  int64_t checked_ = 0;
};

void check(const Graph& graph, const Schedule& schedule, int frames) {
  const MemoryPlan plan = plan_memory(graph, schedule, 2);
  EXPECT_EQ(plan.num_frames, frames);
  ShadowExecution shadow(graph, schedule, plan);
  shadow.run();
  EXPECT_GT(shadow.checked_bytes(), 100000);
  const int64_t sum = std::accumulate(plan.table.begin(), plan.table.end(), int64_t{0},
                                      [](int64_t total, const MemoryLine& line) { return total + line.bytes; });
  EXPECT_EQ(sum, plan.total_bytes());
  for (const ByteRange& range : plan.used) {
    EXPECT_GE(range.begin, 0);
    EXPECT_LE(range.end, plan.total_bytes());
  }
}

TEST(MemoryPlan, EveryReadFindsWhatWasWritten) {
  const Plan plan = build_plan(small_config(2));
  check(plan.stages[0].graph, plan.stages[0].schedule, 1);
}

TEST(MemoryPlan, WithSeveralMicrobatchesInFlight) {
  const Plan plan = build_plan(small_config(1));
  check(plan.stages[0].graph, one_forward_one_backward(0, 4, 8), 4);
  check(plan.stages[0].graph, one_forward_one_backward(3, 4, 8), 1);
  Schedule gpipe;
  for (int m = 0; m < 8; ++m) gpipe.push_back({0, ActionKind::kForward, m});
  for (int m = 0; m < 8; ++m) gpipe.push_back({0, ActionKind::kBackward, m});
  check(plan.stages[0].graph, gpipe, 8);
}

TEST(MemoryPlan, WithoutInPlace) {
  Config config = small_config(2);
  config.disabled_passes = {"in-place"};
  const Plan plan = build_plan(config);
  check(plan.stages[0].graph, plan.stages[0].schedule, 1);
}

TEST(MemoryPlan, StatesAreExactlyWhatAdamNeeds) {
  Config config = small_config(2);
  const Plan plan = build_plan(config);
  int64_t elements = 0;  // with padding to 256 elements
  for (const State& state : plan.stages[0].graph.states())
    if (state.role == StateRole::kMaster) elements += state.type.shape.num_elements();
  EXPECT_GE(elements, parameter_count(config.model));
  EXPECT_LT(elements, parameter_count(config.model) + 256 * (9 * config.model.layers + 3));
  for (const MemoryLine& line : plan.stages[0].memory.table) {
    const bool f32 = line.name.starts_with("Adam") || line.name.starts_with("gradients");
    if (f32 || line.name.starts_with("weights")) {
      EXPECT_EQ(line.bytes, (f32 ? 4 : 2) * elements) << line.name;
    }
  }
}

TEST(Packing, ConflictsNeverOverlapAndOthersShare) {
  const std::vector<int64_t> sizes = {64, 128, 64, 256, 64};
  const auto chain = [](size_t a, size_t b) {
    return a > b ? a - b <= 1 : b - a <= 1;
  };  // each with its neighbours
  const Packing packing = pack(sizes, chain);
  for (size_t a = 0; a < sizes.size(); ++a)
    for (size_t b = a + 1; b < sizes.size(); ++b)
      EXPECT_TRUE(!chain(a, b) || packing.offsets[a] + sizes[a] <= packing.offsets[b] ||
                  packing.offsets[b] + sizes[b] <= packing.offsets[a]);
  EXPECT_EQ(packing.total, 256 + 64);
  EXPECT_EQ(pack(sizes, [](size_t, size_t) { return true; }).total, 64 + 128 + 64 + 256 + 64);
  EXPECT_EQ(pack(sizes, [](size_t, size_t) { return false; }).total, 256);
}

}  // namespace
}  // namespace trine
