// Training on a device that works behind the host's back gives the bits of the CPU: the executor orders all that
// one thing needs of another. Without one of its waits these tests fail, surely so under ThreadSanitizer.
#include "tests/runtime/async_backend.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "data/sampler.h"
#include "models/llama.h"
#include "models/presets.h"
#include "plan/plan.h"
#include "runtime/step/executor.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

constexpr const char* kModel =
    "--layers 5 --hidden 16 --heads 4 --kv-heads 2 --head-dim 4 --ffn 22 --vocab 67 --seq 7 --global-batch 12 "
    "--micro-batch 1 --steps 6 --threads 1 --dtype bf16 ";

struct Layout {
  std::string name;
  int ranks = 1;
  std::string flags;
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> list = {
      {"one", 1, "--tie-embeddings on"},
      {"tp2_sp", 2, "--tp 2 --sp on"},
      {"tp2_recompute", 2, "--tp 2 --sp on --recompute full"},
      {"dp3_zero", 3, "--zero 1"},
      {"dp2_bf16", 2, "--zero 1 --grad-reduce bf16"},
      {"pp2", 2, "--pp 2"},
      {"pp4_tied", 4, "--pp 4 --tie-embeddings on"},
      {"pp4_gpipe", 4, "--pp 4 --schedule gpipe"},
      {"pp2_one_microbatch", 2, "--pp 2 --micro-batch 12"},  // a receive is all that is left to wait for
      {"pp2_zero_bubble", 2, "--pp 2 --schedule zero-bubble --recompute selective"},
      {"pp2_interleaved", 2, "--pp 2 --schedule interleaved --vpp 2"},
      {"tp2_pp2_dp2", 8, "--tp 2 --pp 2 --sp on --zero 1 --tie-embeddings on"}};
  return list;
}

class AsyncBackendTest : public testing::TestWithParam<size_t> {
 protected:
  void expect_same(bool on_device) {
    const Layout& layout = layouts()[GetParam()];
    const Config config = config_of(layout.ranks, kModel + layout.flags);
    const auto batches = random_batches(config);
    const TrainingRun expected = train_locally(config, 3, batches);
    const TrainingRun run = train_locally(config, 3, batches, {}, [&](CommWorld& world, const Config& c) {
      return RankDevice{make_async_backend(c.threads, {.loads_late = on_device}),
                        on_device ? make_async_world(world) : nullptr};
    });
    EXPECT_EQ(run.losses, expected.losses);
    EXPECT_EQ(run.norms, expected.norms);
    EXPECT_TRUE(run.masters == expected.masters);
  }
};

TEST_P(AsyncBackendTest, StagedThroughTheHostTrainsTheBitsOfTheCpu) { expect_same(false); }
TEST_P(AsyncBackendTest, FromDeviceToDeviceTrainsTheBitsOfTheCpu) { expect_same(true); }

INSTANTIATE_TEST_SUITE_P(Layouts, AsyncBackendTest, testing::Range(size_t{0}, layouts().size()),
                         [](const auto& param) { return layouts()[param.param].name; });

// The host's vectors may change as soon as a step returns, and the next one has marks of its own.
TEST(AsyncBackend, TimesOfTheStepAreThoseOfTheDevice) {
  const Config config = config_of(1, kModel);
  const Plan plan = build_plan(config);
  const auto backend = make_async_backend(1);
  TraceRecorder trace(1 << 12);
  Executor executor(plan.stages[0], config, {}, *backend, trace);
  set_parameters(executor, initial_values(plan.stages[0].graph, 1), 1);
  const auto batches = random_batches(config);
  for (int step = 1; step <= 2; ++step) {
    const int64_t begin_ns = now_ns();
    const Batch batch = batches(step);
    EXPECT_TRUE(executor.train_step({.ids = batch.ids, .labels = batch.labels, .lr = 1e-3f}, step).applied);
    const auto events = trace.step(step);
    ASSERT_FALSE(events.empty());
    EXPECT_GE(events.front().t0_ns, begin_ns);
    EXPECT_LE(events.back().t1_ns, now_ns());
    for (size_t i = 1; i < events.size(); ++i) EXPECT_EQ(events[i].t0_ns, events[i - 1].t1_ns);
    for (const TraceEvent& event : events) EXPECT_LE(event.t0_ns, event.t1_ns);
  }
  // Prologue and forwards alone, and the search for what is not finite.
  const Batch batch = batches(3);
  const HostStep host{.ids = batch.ids, .labels = batch.labels};
  EXPECT_GT(executor.evaluate(host, 0).loss, 1);
  EXPECT_FALSE(executor.find_non_finite(host, 3));
}

// Kernels that try several ways do so once each, before anything of value is in memory, and the numbers are those of
// a backend that tries none.
TEST(AsyncBackend, KernelsAreTriedBeforeTheFirstStep) {
  const Config config = config_of(1, kModel);
  const Plan plan = build_plan(config);
  const auto batches = random_batches(config);
  std::vector<double> losses;
  for (const bool tries : {false, true}) {
    AsyncSeen seen;
    const auto backend = make_async_backend(1, {.tries = tries, .seen = &seen});
    TraceRecorder trace(1 << 12);
    Executor executor(plan.stages[0], config, {}, *backend, trace);
    EXPECT_EQ(executor.trials(), tries ? "tried" : "");
    EXPECT_EQ(seen.kernels_tried > 100, tries);
    EXPECT_TRUE(std::ranges::all_of(executor.arena(), [](std::byte b) { return b == std::byte{0}; }));
    set_parameters(executor, initial_values(plan.stages[0].graph, 1), 1);
    const int tried = seen.kernels_tried;
    const Batch batch = batches(1);
    losses.push_back(executor.train_step({.ids = batch.ids, .labels = batch.labels, .lr = 1e-3f}, 1).loss);
    EXPECT_EQ(seen.kernels_tried, tried);
  }
  EXPECT_EQ(losses[0], losses[1]);
}

TEST(AsyncBackend, ResultsOfAStepAreOneCopy) {
  const Config config = config_of(1, kModel);
  const Plan plan = build_plan(config);
  AsyncSeen seen;
  const auto backend = make_async_backend(1, {.seen = &seen});
  TraceRecorder trace(1 << 12);
  Executor executor(plan.stages[0], config, {}, *backend, trace);
  set_parameters(executor, initial_values(plan.stages[0].graph, 1), 1);
  const Batch batch = random_batches(config)(1);
  const int before = seen.copies;
  const StepResult result = executor.train_step({.ids = batch.ids, .labels = batch.labels, .lr = 1e-3f}, 1);
  EXPECT_EQ(seen.copies, before + 1);
  EXPECT_TRUE(result.applied);
  EXPECT_EQ(result.valid_tokens, executor.scalar<int64_t>(step_state::kValidTokens));
  EXPECT_EQ(result.loss, static_cast<double>(executor.scalar<float>(step_state::kLossSum)) / result.valid_tokens);
  EXPECT_EQ(result.grad_norm, executor.scalar<float>(step_state::kGradNorm));
}

// The workspace of a plan is planned for one device's kernels.
TEST(AsyncBackend, APlanForAnotherDeviceIsRefused) {
  const Config config = config_of(1, std::string(kModel) + "--device cuda");
  const Plan plan = build_plan(config);
  const auto backend = make_async_backend(1);
  TraceRecorder trace(1 << 12);
  EXPECT_THROW(Executor(plan.stages[0], config, {}, *backend, trace), CheckError);
}

}  // namespace
}  // namespace trine
