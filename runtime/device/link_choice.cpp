#include "runtime/device/link_choice.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"

namespace trine {
namespace {

// "ranks 0 and 2 share a GPU", which NCCL refuses; empty: none do.
std::string shared_gpu(const std::vector<std::string>& identities) {
  std::map<std::string, size_t> first_on;
  for (size_t rank = 0; rank < identities.size(); ++rank)
    if (const auto [other, added] = first_on.emplace(identities[rank], rank); !added)
      return fmt::format("ranks {} and {} share a GPU", other->second, rank);
  return {};
}

// NCCL, peer to peer unless a link shows that this does not work.
LinkChoice through_links(const std::vector<PeerLink>& links) {
  std::string untested;
  double slowest = 0, latency = 0;
  for (const PeerLink& link : links) {
    const std::string pair = fmt::format("GPUs {} and {}", link.from, link.to);
    if (!link.tested) {
      untested = fmt::format("{} are not seen by one process, so their link is not tested", pair);
      continue;
    }
    if (!link.access)
      return {.nccl = true, .peer_to_peer = false, .reason = pair + " can not reach each other's memory"};
    if (!link.data_right)
      return {.nccl = true,
              .peer_to_peer = false,
              .reason = pair + " claim to reach each other's memory, but data came out wrong"};
    slowest = slowest == 0 ? link.bytes_per_s : std::min(slowest, link.bytes_per_s);
    latency = std::max(latency, link.latency_s);
  }
  if (!untested.empty()) return {.nccl = true, .reason = untested};
  if (links.empty()) return {.nccl = true, .reason = "no two GPUs are on one host"};
  return {.nccl = true,
          .reason = fmt::format("peer access works with right data, at least {:.1f} GB/s, at most {:.1f} us",
                                slowest * 1e-9, latency * 1e6)};
}

}  // namespace

LinkChoice choose_links(CommKind wish, const std::vector<std::string>& identities, const std::string& nccl_version,
                        const std::vector<PeerLink>& links) {
  const std::string shared = shared_gpu(identities);
  if (wish == CommKind::kMpi) return {.nccl = false, .reason = "--comm mpi"};
  if (wish == CommKind::kNccl) {
    if (!shared.empty())
      throw ConfigError(
          fmt::format("[comm] --comm nccl, but {}. Start as many ranks as there are GPUs, or take "
                      "--comm mpi.",
                      shared));
    if (nccl_version.empty())
      throw ConfigError("[comm] --comm nccl, but there is no NCCL. Install libnccl2, or take --comm mpi.");
  } else {
    if (!shared.empty()) return {.nccl = false, .reason = shared};
    if (nccl_version.empty()) return {.nccl = false, .reason = "there is no NCCL"};
  }
  LinkChoice choice = through_links(links);
  if (wish == CommKind::kNccl) choice.reason = "--comm nccl; " + choice.reason;
  return choice;
}

std::string RunMessage::text() const {
  static constexpr const char* kNames[] = {"all-reduce", "reduce-scatter", "all-gather", "message"};
  return fmt::format("{} {} of {}", name(axis), kNames[static_cast<size_t>(op)], format_bytes(bytes));
}

LinkChoice choose_faster(const LinkChoice& possible, const std::vector<RunMessage>& messages,
                         const MessageTimer& nccl, const MessageTimer& staged) {
  double by_nccl = 0, by_host = 0;
  for (const RunMessage& message : messages) {
    const MessageTime time = nccl(message);
    if (!time.data_right)
      return {.nccl = false, .reason = fmt::format("NCCL brings wrong data ({})", message.text())};
    by_nccl += message.per_step * time.seconds;
    by_host += message.per_step * staged(message).seconds;
  }
  LinkChoice choice = possible;
  choice.nccl = by_nccl <= by_host;
  choice.reason +=
      fmt::format("; a step's messages take {:.2f} ms by NCCL, {:.2f} ms staged", by_nccl * 1e3, by_host * 1e3);
  return choice;
}

}  // namespace trine
