#include "comm/staged_pieces.h"

#include <gtest/gtest.h>
#include <thread>

#include "base/clock.h"
#include "runtime/device/rehearsal/modelled_timeline.h"

namespace trine {
namespace {

using std::chrono::milliseconds;

TEST(StagedPieces, EachPieceGoesOutIsExchangedAndComesInOnce) {
  for (const int64_t count : {0, 1, 3, 4, 5, 17, 400}) {
    const StagedPieces pieces{count, 3};
    int64_t elements = 0, out = 0, ready = 0, exchanged = 0, in = 0;
    pieces.run(
        [&](int64_t piece) {
          EXPECT_EQ(piece, out++);
          EXPECT_LE(out - ready, StagedPieces::kAhead);
        },
        [&](int64_t piece) {
          EXPECT_EQ(piece, ready++);
          EXPECT_LE(ready, out);
        },
        [&](int64_t piece) {
          EXPECT_EQ(piece, exchanged++);
          EXPECT_EQ(ready, exchanged);
          elements += pieces.size(piece);
        },
        [&](int64_t piece) {
          EXPECT_EQ(piece, in++);
          EXPECT_EQ(exchanged, in);
        });
    EXPECT_EQ(elements, count);
    EXPECT_EQ(in, pieces.num_pieces());
  }
}

// Ten pieces, 4 ms each way and 4 ms between: 120 ms one after another, 48 ms where all three run at once.
TEST(StagedPieces, CopiesRunBesideTheExchange) {
  constexpr int64_t kWork = 4'000'000, kPieces = 10;
  ModelledTimeline timeline(0);
  const Queue out(Lane::kCopy), in(Lane::kPp);
  std::array<Mark, StagedPieces::kAhead> marks{};
  const int64_t begin_ns = now_ns();
  StagedPieces{kPieces, 1}.run(
      [&](int64_t piece) {
        timeline.work(out, kWork);
        marks[static_cast<size_t>(piece % StagedPieces::kAhead)] = timeline.mark(out);
      },
      [&](int64_t piece) { timeline.synchronize(marks[static_cast<size_t>(piece % StagedPieces::kAhead)]); },
      [&](int64_t) { std::this_thread::sleep_for(milliseconds(4)); }, [&](int64_t) { timeline.work(in, kWork); });
  timeline.synchronize_all();
  const int64_t took_ns = now_ns() - begin_ns;
  EXPECT_GE(took_ns, kPieces * kWork);
  EXPECT_LE(took_ns, 2 * kPieces * kWork);  // of three
}

}  // namespace
}  // namespace trine
