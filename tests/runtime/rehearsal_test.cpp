// A rehearsal takes the time that its model says: the real executor on devices that only wait gives
// each schedule's known step.
#include <gtest/gtest.h>
#include <mutex>

#include "base/error.h"
#include "comm/local/local_ranks.h"
#include "models/llama.h"
#include "plan/plan.h"
#include "runtime/device/rehearsal/rehearsal_backend.h"
#include "runtime/step/executor.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

// One layer a stage, and all of its time in attention.
constexpr double kForward = 3e-3, kBackward = 6e-3;
constexpr const char* kModel =
    "--device cuda --hidden 16 --heads 4 --kv-heads 4 --head-dim 4 --ffn 24 --vocab 67 --seq 8 --micro-batch 1 "
    "--dtype bf16 --threads 1 ";

ModelledDevice device_of(double message_s = 0, double collective_s = 0) {
  return {.name = "test",
          .memory_bytes = int64_t{1} << 36,
          .host_copy_bytes_per_s = 1e10,
          .kernel_s =
              [](const KernelRequest& request) {
                return request.op.name() == "attention"        ? kForward
                       : request.op.name() == "attention_grad" ? kBackward
                                                               : 0;
              },
          .collective = [=](const KernelRequest&) { return ModelledTransfer{collective_s}; },
          .message = [=](int, int64_t) { return ModelledTransfer{message_s}; }};
}

struct Rehearsed {
  double step_s = 0;           // of the slowest rank
  std::vector<double> busy_s;  // compute of each rank
};

// The second of two steps.
Rehearsed rehearse(const Config& config, const std::function<ModelledDevice(int rank)>& device) {
  const Plan plan = build_plan(config);
  Rehearsed all;
  std::mutex mutex;
  all.busy_s.resize(static_cast<size_t>(config.mesh.num_ranks()));
  run_local_ranks(config.mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
    CommLanes lanes(world);
    const auto backend = make_rehearsal_backend(device(fabric.rank()));
    lanes.talk_on_device(make_rehearsal_world(world, *backend), std::chrono::seconds(60));
    TraceRecorder trace(1 << 14);
    const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
    Executor executor(stage, config, world.coordinate(), *backend, trace, &lanes);
    const std::vector<int32_t> tokens(static_cast<size_t>(config.global_batch / config.mesh.dp * config.seq), 1);
    const auto step = [&](int number) {
      world[Group::kWorld].barrier();
      executor.train_step({.ids = tokens, .labels = tokens}, number);
    };
    step(1);
    step(2);
    int64_t begin = INT64_MAX, end = 0;
    double busy = 0;
    for (const TraceEvent& event : trace.step(2)) {
      begin = std::min(begin, event.t0_ns), end = std::max(end, event.t1_ns);
      if (event.kind == EventKind::kCompute) busy += static_cast<double>(event.t1_ns - event.t0_ns) * 1e-9;
    }
    const std::lock_guard lock(mutex);
    all.step_s = std::max(all.step_s, static_cast<double>(end - begin) * 1e-9);
    all.busy_s[static_cast<size_t>(fabric.rank())] = busy;
  });
  return all;
}

Config config_of_stages(int pp, int layers, int microbatches, const std::string& flags) {
  return config_of(pp, std::string(kModel) + "--pp " + std::to_string(pp) + " --layers " + std::to_string(layers) +
                           " --global-batch " + std::to_string(microbatches) + " " + flags);
}

// A busy machine makes a step longer, nothing makes it shorter.
void expect_step(const Rehearsed& run, double ideal_s) {
  EXPECT_GE(run.step_s, ideal_s * 0.999);
  EXPECT_LE(run.step_s, ideal_s * 1.1 + 0.02);
}

// Narayanan et al. 2021 (SC'21), section 2.2: the bubble is (p - 1) / v of a microbatch's time.
TEST(Rehearsal, SchedulesTakeTheTimeOfTheirBubble) {
  constexpr int kMicrobatches = 8;
  const double microbatch = kForward + kBackward;
  for (const char* schedule : {"gpipe", "1f1b"})
    expect_step(rehearse(config_of_stages(4, 4, kMicrobatches, std::string("--schedule ") + schedule),
                         [](int) { return device_of(); }),
                (kMicrobatches + 3) * microbatch);
  expect_step(rehearse(config_of_stages(2, 4, kMicrobatches, "--schedule interleaved --vpp 2"),
                       [](int) { return device_of(); }),
              (kMicrobatches + 0.5) * 2 * microbatch);
}

// Each message lies once on the way down and once on the way up; in the steady state of 1F1B a stage waits for both
// ways of a message in each microbatch (it has no forward in hand).
TEST(Rehearsal, MessagesTakeTheirTime) {
  const double message = 2e-3;
  const Rehearsed run =
      rehearse(config_of_stages(2, 2, 1, "--schedule 1f1b"), [&](int) { return device_of(message); });
  expect_step(run, 2 * (kForward + kBackward) + 2 * message);
}

TEST(Rehearsal, CollectivesBeginWithTheLastRank) {
  const Config config = config_of(2, std::string(kModel) + "--tp 2 --layers 2 --global-batch 2 --sp on");
  const Plan plan = build_plan(config);
  int64_t collectives = 0;
  for (const Node& node : plan.stages[0].graph.nodes())
    if (node.lane == Lane::kTp) collectives += node.region == Region::kMicrobatch ? config.num_microbatches() : 1;
  const double collective = 1e-3, microbatch = 2 * (kForward + kBackward);
  const double ideal = config.num_microbatches() * microbatch;
  const Rehearsed run = rehearse(config, [&](int) { return device_of(0, collective); });
  EXPECT_GE(run.step_s, ideal + collective * 0.5 * static_cast<double>(collectives));
  EXPECT_LE(run.step_s, (ideal + collective * static_cast<double>(collectives)) * 1.1 + 0.02);
  // One rank at half the speed holds up the other.
  const Rehearsed slow = rehearse(config, [&](int rank) {
    ModelledDevice device = device_of(0, collective);
    if (rank == 1) device.kernel_s = [inner = device.kernel_s](const KernelRequest& r) { return 2 * inner(r); };
    return device;
  });
  EXPECT_GE(slow.step_s, 2 * ideal);
  EXPECT_NEAR(slow.busy_s[1], 2 * slow.busy_s[0], 0.2 * slow.busy_s[1]);
}

TEST(Rehearsal, TheModelledMemoryIsAllThereIs) {
  ModelledDevice device = device_of();
  device.memory_bytes = 1000;
  const auto backend = make_rehearsal_backend(device);
  const auto most = backend->allocate(900);
  EXPECT_EQ(backend->room()->free_bytes, 100);
  EXPECT_THROW(backend->allocate(200), OutOfMemoryError);
}

// What the host writes it reads again; nothing else was ever there.
TEST(Rehearsal, KeepsWhatTheHostWrites) {
  const auto backend = make_rehearsal_backend(device_of());
  const auto memory = backend->allocate(int64_t{1} << 35);
  const double written = 3.5;
  backend->write(std::as_bytes(std::span(&written, 1)), memory->data() + 64);
  double read = 0;
  backend->read(memory->data() + 64, std::as_writable_bytes(std::span(&read, 1)));
  EXPECT_EQ(read, written);
  backend->read(memory->data() + 128, std::as_writable_bytes(std::span(&read, 1)));
  EXPECT_EQ(read, 0);
}

// A rank that is lost ends the others: the error comes out of the step.
TEST(Rehearsal, ALostRankEndsTheStep) {
  const Config config = config_of_stages(2, 2, 2, "");
  const Plan plan = build_plan(config);
  std::atomic<int> lost = 0;
  EXPECT_THROW(run_local_ranks(2,
                               [&](Fabric& fabric) {
                                 CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
                                 CommLanes lanes(world);
                                 const auto backend = make_rehearsal_backend(device_of());
                                 lanes.talk_on_device(make_rehearsal_world(world, *backend),
                                                      std::chrono::seconds(60));
                                 TraceRecorder trace(1 << 14);
                                 const StagePlan& stage = plan.stages[static_cast<size_t>(fabric.rank())];
                                 Executor executor(stage, config, world.coordinate(), *backend, trace, &lanes);
                                 world[Group::kWorld].barrier();
                                 if (fabric.rank() == 1) {
                                   fabric.give_up(std::make_exception_ptr(DataError("gone")));
                                   throw DataError("gone");
                                 }
                                 const std::vector<int32_t> tokens(static_cast<size_t>(2 * config.seq), 1);
                                 try {
                                   executor.train_step({.ids = tokens, .labels = tokens}, 1);
                                 } catch (const PeerLostError&) {
                                   ++lost;
                                   fabric.give_up(std::current_exception());
                                   throw;
                                 } catch (const std::exception&) {
                                   fabric.give_up(std::current_exception());
                                   throw;
                                 }
                               }),
               std::exception);
}

}  // namespace
}  // namespace trine
