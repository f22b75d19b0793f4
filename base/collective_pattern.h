// Which messages the CPU's collectives exchange (comm/communicator.h carries them out; a prediction counts them).
//
// Everybody exchanges directly with everybody. A buffer of `total` elements is worked through in pieces, each the
// same stretch of every rank's shard; a piece is one round, or two: a reduction, in which a rank sends to each
// other rank what it has of that one's stretch and receives what the others have of its own, and a gathering, in
// which it sends its own stretch to all. A rank posts its receives, then its sends, and waits for all of them
// before the next round.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/shape.h"

namespace trine {

// Bytes of a piece over all ranks (bench/comm_bench).
inline constexpr int64_t kCollectivePieceBytes = 1 << 20;

// The same stretch [offset, offset + length) of every part (rank's shard) of `total` elements.
struct CollectivePiece {
  int64_t total = 0;
  int parts = 1;
  int64_t offset = 0, length = 0;

  int64_t begin(int part) const { return split_begin(total, parts, part) + offset; }
  int64_t size(int part) const { return std::clamp<int64_t>(split_size(total, parts, part) - offset, 0, length); }
};

// Calls f(piece) for all, in order. `element`: bytes.
template <typename F>
void for_each_collective_piece(int64_t total, int parts, int64_t element, F&& f) {
  const int64_t length = std::max<int64_t>(1, kCollectivePieceBytes / (parts * element));
  for (int64_t offset = 0; offset < div_up(total, parts); offset += length)
    f(CollectivePiece{total, parts, offset, length});
}

enum class CollectivePattern { kAllReduce, kReduceScatter, kAllGather };

struct CollectiveRound {
  bool reduces = false;  // else it gathers
  CollectivePiece piece;

  // Elements from one rank to another; no message where there are none.
  int64_t sent(int from, int to) const { return piece.size(reduces ? to : from); }
};

// Calls f(round) for all rounds of a collective over `parts` ranks, in order; `element`: bytes. A gathering alone
// is one round, of any size.
template <typename F>
void for_each_collective_round(CollectivePattern kind, int64_t total, int parts, int64_t element, F&& f) {
  if (kind == CollectivePattern::kAllGather)
    return f(CollectiveRound{false, {total, parts, 0, div_up(total, parts)}});
  for_each_collective_piece(total, parts, element, [&](const CollectivePiece& piece) {
    f(CollectiveRound{true, piece});
    if (kind == CollectivePattern::kAllReduce) f(CollectiveRound{false, piece});
  });
}

// To whom a rank posts its i-th send of a round, i from 1 to parts - 1: not everybody to rank 0 first. Receives are
// posted, and waited for, in rank order.
constexpr int collective_send_peer(int rank, int i, int parts) { return (rank + i) % parts; }

}  // namespace trine
