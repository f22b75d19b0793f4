// Transfers of a step that meet on links: who meets whom, what each then takes, and that no link carries more than it can.
#include "analysis/shared_links.h"

#include <gtest/gtest.h>
#include <iterator>
#include <sstream>

#include "analysis/simulator.h"
#include "ops/collective.h"
#include "ops/pipeline.h"
#include "plan/config/flags.h"

namespace trine {
namespace {

Plan plan_of(const std::string& flags) {
  std::istringstream words(
      "train_llama --dry-run --device cuda --hidden 2048 --heads 16 --kv-heads 16 --head-dim 128 --ffn 5504 "
      "--vocab 32 --seq 1024 --micro-batch 1 --dtype bf16 --layers 8 " +
      flags);
  std::vector<std::string> args(std::istream_iterator<std::string>(words), {});
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return build_plan(std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "")));
}

// Of the first node of the lane that moves bytes.
const SharedTransfer& first_of(const Plan& plan, SimulatedCosts& costs, int pp, Lane lane) {
  const Graph& graph = plan.stages[static_cast<size_t>(pp)].graph;
  for (size_t n = 0; n < graph.nodes().size(); ++n)
    if (graph.nodes()[n].lane == lane && !graph.nodes()[n].op->is_transfer())
      if (const SharedTransfer& transfer = costs.collective(pp, static_cast<int>(n)); transfer.bytes > 1e6)
        return transfer;
  throw std::runtime_error("no such node");
}

TEST(SharedLinks, KnowsWhoMeetsWhom) {
  const auto meet = [](const char* flags, const char* cluster, Lane lane, bool others) {
    const Plan plan = plan_of(flags);
    const Profile profile = load_profile(cluster);
    SimulatedCosts costs(plan, profile);
    const SharedLinks links(plan, costs, 1);
    EXPECT_EQ(links.find(first_of(plan, costs, 0, lane)) != nullptr, others) << flags << " on " << cluster;
    return links.tp_is_alone(0);
  };
  // A host each: tensor-parallel groups have NVLink for themselves.
  EXPECT_TRUE(meet("--ranks 16 --tp 8 --pp 2 --global-batch 8", "a100-80-sxm", Lane::kTp, false));
  // Gradients take it, too, but only at the end.
  EXPECT_TRUE(meet("--ranks 8 --tp 4 --global-batch 8", "a100-80-sxm", Lane::kTp, true));
  // Four pipeline ranks at one host's memory; and messages to another host, which cross it as well.
  EXPECT_FALSE(meet("--ranks 8 --tp 2 --pp 4 --global-batch 8", "rtx4090", Lane::kTp, true));
  EXPECT_FALSE(meet("--ranks 16 --tp 8 --pp 2 --global-batch 8", "rtx4090", Lane::kTp, true));
  EXPECT_TRUE(meet("--ranks 8 --tp 8 --global-batch 8", "rtx4090", Lane::kTp, false));
}

// Two groups with nothing between them but the host's memory, which each alone would fill.
TEST(SharedLinks, EachHasItsShareWhileAnotherIsUnderWay) {
  const Plan plan = plan_of("--ranks 4 --tp 2 --pp 2 --global-batch 4");
  Profile profile = load_profile("rtx4090");
  set_values(profile, std::vector<std::string>{"device.link_gb_per_s=250", "host.memory_gb_per_s=20"});
  SimulatedCosts costs(plan, profile);
  SharedLinks links(plan, costs, 1);
  const SharedTransfer &first = first_of(plan, costs, 0, Lane::kTp), &second = first_of(plan, costs, 1, Lane::kTp);
  ASSERT_EQ(first.bytes, second.bytes);
  const double alone = first.bytes / first.alone_bytes_per_s, latency = first.latency_s;
  // The second begins when the first is half done: that takes 1.5 times as long, and so does the second.
  double end_of_first = 0, end_of_second = 0;
  links.begin(1, *links.find(first), [&](double end) { end_of_first = end; });
  links.begin(1 + alone / 2, *links.find(second), [&](double end) { end_of_second = end; });
  while (links.advance()) {
  }
  EXPECT_NEAR(end_of_first, 1 + 1.5 * alone + latency, 1e-9);
  EXPECT_NEAR(end_of_second, 1 + 2 * alone + latency, 1e-9);
  // One after another: as if each were alone.
  links.begin(5, *links.find(first), [&](double end) { end_of_first = end; });
  links.begin(5 + alone * 1.001, *links.find(second), [&](double end) { end_of_second = end; });
  while (links.advance()) {
  }
  EXPECT_NEAR(end_of_first, 5 + alone + latency, 1e-9);
  EXPECT_NEAR(end_of_second, 5 + 2.001 * alone + latency, 1e-9);
}

// Whatever meets on it, a link carries no more than it can; and where it is all that counts, not much less.
TEST(SharedLinks, NoLinkCarriesMoreThanItCan) {
  for (const char* flags :
       {"--ranks 8 --tp 2 --pp 4 --global-batch 16", "--ranks 8 --tp 2 --pp 2 --global-batch 16",
        "--ranks 8 --pp 8 --global-batch 16 --schedule gpipe",
        "--ranks 8 --pp 2 --tie-embeddings on --vocab 32000 --global-batch 16"}) {
    const Plan plan = plan_of(flags);
    Profile profile = load_profile("rtx4090");
    // One socket, a memory as slow as a disk, and all else quick.
    set_values(profile, std::vector<std::string>{"host.devices_per_socket=8", "host.memory_gb_per_s=0.5"});
    SimulatedCosts costs(plan, profile);
    std::vector<double> busy_s;  // by resource
    const auto add = [&](const SharedTransfer& transfer) {
      busy_s.resize(static_cast<size_t>(costs.links().num_resources()));
      for (const LinkUse& use : transfer.uses)
        busy_s[static_cast<size_t>(use.resource)] +=
            transfer.bytes * use.weight / costs.links().bytes_per_s(use.resource);
    };
    for (size_t pp = 0; pp < plan.stages.size(); ++pp) {
      const Graph& graph = plan.stages[pp].graph;
      step_program(plan.stages[pp], StepMode::kTrain, true).for_each([&](const Command& command) {
        if (command.node < 0) return;
        const Node& node = graph[NodeId{command.node}];
        const int rank = static_cast<int>(pp);
        if (command.kind == CommandKind::kPostSend) {
          const auto& send = dynamic_cast<const Send&>(*node.op);
          const int step = send.backward ? -1 : 1, all = plan.config.mesh.pp;
          add(costs.message(rank, (rank + step + all) % all, costs.node(rank, command.node).message_bytes));
        } else if (command.kind == CommandKind::kEnqueue &&
                   dynamic_cast<const ReceiveState*>(node.op.get()) == nullptr) {
          add(costs.collective(rank, command.node));
        }
      });
    }
    const double most_s = *std::ranges::max_element(busy_s), step_s = simulate(plan, profile).step_s;
    EXPECT_GE(step_s, most_s) << flags;
    EXPECT_LE(step_s, 1.35 * most_s) << flags;
  }
}

}  // namespace
}  // namespace trine
