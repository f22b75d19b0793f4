#include "plan/printing/layout_grid.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <numeric>

namespace trine {
namespace {

// Each once, in order of rank.
std::vector<std::string> hosts_of(const std::vector<int>& ranks, const std::vector<std::string>& hosts) {
  std::vector<std::string> names;
  for (const int rank : ranks) {
    const std::string& host = hosts[static_cast<size_t>(rank)];
    if (std::ranges::find(names, host) == names.end()) names.push_back(host);
  }
  return names;
}

std::string shorten(std::vector<std::string> names) {
  constexpr size_t kShown = 4;
  if (names.size() > kShown) names = {names[0], names[1], "...", names.back()};
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string range_of(const std::vector<int>& ranks) {  // neighbours, as tp groups are
  return ranks.size() == 1 ? std::to_string(ranks[0]) : fmt::format("{}-{}", ranks.front(), ranks.back());
}

// The largest tp that divides this one and the number of ranks on every host.
int tp_within_hosts(const Mesh& mesh, const std::vector<std::string>& hosts) {
  std::map<std::string, int> ranks_of;
  for (const std::string& host : hosts) ++ranks_of[host];
  int tp = mesh.tp;
  for (const auto& [host, ranks] : ranks_of) tp = std::gcd(tp, ranks);
  return tp;
}

}  // namespace

std::string layout_grid(const Mesh& mesh, const std::vector<std::string>& hosts) {
  constexpr int kShown = 8;
  const bool one_host = std::ranges::count(hosts, hosts.empty() ? "" : hosts[0]) == std::ssize(hosts);
  std::string text;
  for (int pp = 0; pp < mesh.pp; ++pp) {
    text += fmt::format("  pp {}:", pp);
    for (int dp = 0; dp < mesh.dp; ++dp) {
      if (dp == kShown - 1 && mesh.dp > kShown) {
        text += " ...,";
        dp = mesh.dp - 1;
      }
      const std::vector<int> ranks = mesh.group({pp, dp, 0}, Axis::kTp);
      text += fmt::format(" dp {}: {}", dp, range_of(ranks));
      if (!one_host) text += fmt::format(" ({})", shorten(hosts_of(ranks, hosts)));
      text += dp + 1 < mesh.dp ? "," : "\n";
    }
  }
  if (one_host && !hosts.empty()) text += fmt::format("  all on {}\n", hosts[0]);
  return text;
}

std::vector<std::string> host_warnings(const Mesh& mesh, const std::vector<std::string>& hosts) {
  if (hosts.empty()) return {};
  int apart = 0;
  std::vector<int> first;
  for (int pp = 0; pp < mesh.pp; ++pp) {
    for (int dp = 0; dp < mesh.dp; ++dp) {
      const std::vector<int> ranks = mesh.group({pp, dp, 0}, Axis::kTp);
      if (hosts_of(ranks, hosts).size() == 1) continue;
      if (apart++ == 0) first = ranks;
    }
  }
  if (apart == 0) return {};
  const int tp = tp_within_hosts(mesh, hosts);
  return {fmt::format(
      "[layout] {} of {} tp groups have ranks on several hosts, such as ranks {} on {}. tp sends in every layer, "
      "and nothing hides most of it, so a network between its ranks makes each step slow. {}",
      apart, mesh.pp * mesh.dp, range_of(first), shorten(hosts_of(first, hosts)),
      tp == mesh.tp ? "Fill one host after the other: mpirun --map-by slot, or srun --distribution=block."
                    : fmt::format("Lower --tp to {}, or start a multiple of {} ranks on each host.", tp, mesh.tp))};
}

}  // namespace trine
