// What CPU ranks are told of the links of a cluster (--emulate-links), beside what the simulator takes for the same plan.
#include "analysis/link_emulation.h"

#include <gtest/gtest.h>
#include <sstream>

#include "analysis/simulated_costs.h"
#include "comm/emulated/flow_table.h"
#include "plan/config/flags.h"

namespace trine {
namespace {

Plan plan_of(const std::string& flags) {
  std::istringstream words("train_llama --dry-run --model tiny --device cpu --threads 1 " + flags);
  std::vector<std::string> args(std::istream_iterator<std::string>(words), {});
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return build_plan(std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "", {})));
}

// Of the first of these while all are under way.
double together_s(const LinkModel& links, const std::vector<EmulatedTransfer>& transfers) {
  std::vector<std::span<const LinkUse>> uses;
  for (const EmulatedTransfer& transfer : transfers) uses.emplace_back(transfer.uses);
  return transfers[0].latency_s + transfers[0].bytes / fair_rates(links, uses)[0];
}

// All groups of an axis at once, as they are in the simulator: each gets its share of what they have in common.
TEST(LinkEmulation, GroupsShareLinksAsInTheSimulator) {
  constexpr double kDilation = 500;
  const Profile profile = load_profile("rtx4090");
  for (const std::string flags :
       {"--ranks 4 --tp 2", "--ranks 8 --tp 2", "--ranks 4 --tp 4", "--ranks 16 --tp 2 --pp 2"}) {
    const Plan plan = plan_of(flags);
    const Mesh& mesh = plan.config.mesh;
    SimulatedCosts costs(plan, profile);
    int compared = 0;
    for (size_t n = 0; n < plan.stages[0].graph.nodes().size(); ++n) {
      const Node& node = plan.stages[0].graph.nodes()[n];
      if (node.lane != Lane::kTp && node.lane != Lane::kDp) continue;
      const bool is_tp = node.lane == Lane::kTp;
      std::vector<EmulatedTransfer> all;
      std::optional<LinkModel> links;
      for (int dp = 0; dp < (is_tp ? mesh.dp : 1); ++dp)
        for (int tp = 0; tp < (is_tp ? 1 : mesh.tp); ++tp) {
          const int rank = mesh.rank({.pp = 0, .dp = dp, .tp = tp});
          if (rank / 8 != 0) continue;  // on another host
          const EmulatedLinks own = emulated_links(plan, profile, kDilation, rank);
          all.push_back(own.collective(static_cast<int>(n)));
          links = own.links;
        }
      const double wanted_s = kDilation * costs.collective_s(0, static_cast<int>(n));
      EXPECT_NEAR(together_s(*links, all), wanted_s, 1e-9 * wanted_s) << flags << ", node " << n;
      ++compared;
    }
    EXPECT_GT(compared, 10) << flags;
  }
}

// The table in which transfers are carried has room for the links of one ring over hundreds of cards.
TEST(LinkEmulation, ALargeRingFitsTheTable) {
  const Plan plan = plan_of("--ranks 256 --global-batch 256 --micro-batch 1");
  const EmulatedLinks links = emulated_links(plan, load_profile("rtx4090"), 1, 255);
  size_t most = 0;
  for (size_t n = 0; n < plan.stages[0].graph.nodes().size(); ++n)
    if (plan.stages[0].graph.nodes()[n].lane == Lane::kDp)
      most = std::max(most, links.collective(static_cast<int>(n)).uses.size());
  EXPECT_GT(most, 512u);
  EXPECT_LE(most, FlowTable::kMostUses);
}

}  // namespace
}  // namespace trine
