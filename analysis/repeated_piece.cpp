#include "analysis/repeated_piece.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace trine {
namespace {

// Later by this much is the same time: sums of seconds that were added in another order.
constexpr double kSame = 1e-12;

// Of one piece: where the launching thread is behind, no two may be alike.
constexpr size_t kMostStates = 64;

bool is_own(const Command& command) {
  switch (command.kind) {
    case CommandKind::kRun:
    case CommandKind::kWaitLane:
      return true;
    case CommandKind::kEnqueue:
      return command.lane == Lane::kTp;
    default:
      return false;
  }
}

Lane lane_of(EventKind kind) {
  switch (kind) {
    case EventKind::kCommTp:
      return Lane::kTp;
    case EventKind::kCommPp:
      return Lane::kPp;
    case EventKind::kCommDp:
      return Lane::kDp;
    case EventKind::kHost:
    case EventKind::kWait:
      return Lane::kHost;
    default:
      return Lane::kCompute;
  }
}

}  // namespace

std::span<const Command> own_piece(std::span<const Command> commands) {
  size_t end = 0;
  std::vector<size_t> under_way;  // where collectives were enqueued that were not waited for
  for (; end < commands.size() && is_own(commands[end]); ++end) {
    if (commands[end].kind == CommandKind::kEnqueue) under_way.push_back(end);
    if (commands[end].kind != CommandKind::kWaitLane) continue;
    const auto waited =
        std::ranges::find(under_way, commands[end].node, [&](size_t i) { return commands[i].node; });
    if (waited != under_way.end()) under_way.erase(under_way.begin(), std::next(waited));
  }
  return commands.first(under_way.empty() ? end : under_way.front());
}

uint64_t hash_of(std::span<const Command> piece) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, by words
  for (const Command& command : piece) {
    const auto node = static_cast<uint64_t>(static_cast<uint32_t>(command.node));
    hash = (hash ^ (node << 8 | static_cast<uint64_t>(command.kind))) * 0x100000001b3;
    hash ^= hash >> 29;
  }
  return hash;
}

void RepeatedPieces::add(uint64_t hash, const RepeatedPiece& piece) {
  std::vector<RepeatedPiece>& states = pieces_[hash];
  if (states.size() < kMostStates) states.push_back(piece);
}

const RepeatedPiece* RepeatedPieces::find(uint64_t hash, double host_after_s) const {
  const auto found = pieces_.find(hash);
  if (found == pieces_.end()) return nullptr;
  for (const RepeatedPiece& piece : found->second) {
    const double later = host_after_s - piece.host_before_s;
    if (piece.host_slack_s >= 0 ? later <= piece.host_slack_s : std::abs(later) <= kSame) return &piece;
  }
  return nullptr;
}

void append_events(const RepeatedPiece& piece, int64_t since_ns, int64_t begin_ns, int64_t end_ns, int action,
                   std::vector<TraceEvent>& events) {
  int64_t now = begin_ns, begin = since_ns;
  const auto add = [&](EventKind kind, int64_t until) {
    events.push_back(
        {.t0_ns = begin, .t1_ns = until, .step = 1, .action = action, .lane = lane_of(kind), .kind = kind});
    begin = now = until;
  };
  const auto nanoseconds = [&](EventKind kind) -> int64_t { return std::llround(piece.time[kind] * 1e9); };
  // What computes comes first, such that what it hides lies beneath it, and of that what was first.
  std::array<EventKind, kNumEventKinds> all;
  size_t num_kinds = 0;
  const auto is_there = [&](EventKind kind) { return kind != EventKind::kIdle && piece.time[kind] > 0; };
  const bool computes_first = lane_of(piece.first_kind) == Lane::kCompute && is_there(piece.first_kind);
  if (computes_first) all[num_kinds++] = piece.first_kind;
  for (const bool computes : {true, false})
    for (int k = 0; k < kNumEventKinds; ++k) {
      const auto kind = static_cast<EventKind>(k);
      if (!is_there(kind) || (lane_of(kind) == Lane::kCompute) != computes) continue;
      if (!computes_first || kind != piece.first_kind) all[num_kinds++] = kind;
    }
  const std::span kinds = std::span(all).first(num_kinds);
  if (kinds.empty() || kinds[0] != piece.first_kind) begin = begin_ns;
  for (const EventKind kind : kinds) add(kind, std::min(end_ns, now + nanoseconds(kind)));
  if (piece.time[EventKind::kIdle] <= 0 && !kinds.empty() && now < end_ns) events.back().t1_ns = end_ns;
  // Hidden beneath what computes.
  if (const int64_t hidden = std::llround(piece.time.hidden(Axis::kTp) * 1e9); hidden > 0)
    events.push_back({.t0_ns = begin_ns,
                      .t1_ns = std::min(end_ns, begin_ns + hidden),
                      .step = 1,
                      .action = action,
                      .lane = Lane::kTp,
                      .kind = EventKind::kCommTp});
}

}  // namespace trine
