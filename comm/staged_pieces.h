// A collective of data that lies on a device, through the host, in pieces: while one piece is exchanged with the
// other ranks, the next ones are copied out and those before are copied in. So the whole takes as long as the
// slowest of the three and a piece of each of the others, not their sum.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/shape.h"

namespace trine {

struct StagedPieces {
  static constexpr int kAhead = 4;  // pieces on their way out while one is exchanged

  int64_t count = 0;   // elements, rows or whatever is cut
  int64_t length = 1;  // of a piece

  int64_t num_pieces() const { return div_up(count, length); }
  int64_t begin(int64_t piece) const { return piece * length; }
  int64_t size(int64_t piece) const { return std::min(length, count - begin(piece)); }

  // out(piece) and in(piece) enqueue copies, ready(piece) blocks until the copy out is done, exchange(piece)
  // returns when the host's memory has the result. At most kAhead calls of out() are not yet
  // followed by their ready().
  template <typename Out, typename Ready, typename Exchange, typename In>
  void run(Out&& out, Ready&& ready, Exchange&& exchange, In&& in) const {
    const int64_t pieces = num_pieces();
    for (int64_t piece = 0; piece < std::min<int64_t>(kAhead, pieces); ++piece) out(piece);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      ready(piece);
      if (piece + kAhead < pieces) out(piece + kAhead);
      exchange(piece);
      in(piece);
    }
  }
};

}  // namespace trine
