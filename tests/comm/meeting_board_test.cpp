#include "comm/emulated/meeting_board.h"

#include <gtest/gtest.h>
#include <numeric>
#include <thread>

#include "base/error.h"

namespace trine {
namespace {

std::shared_ptr<std::byte> zeroed(size_t bytes) {
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  std::fill(memory, memory + bytes, std::byte{0});
  return {memory, [](std::byte* data) { std::free(data); }};
}

// Thousands of meetings, one behind another, of three ranks that come in any order, and of two beside them.
TEST(MeetingBoard, AllLearnTheLatestTimeOfEachMeeting) {
  constexpr int kRanks = 3, kMeetings = 3000;
  const auto memory = zeroed(MeetingBoard::num_bytes(2, kRanks));
  std::vector<int> all(kRanks);
  std::iota(all.begin(), all.end(), 0);
  std::atomic<int> wrong = 0;
  std::vector<std::unique_ptr<MeetingBoard>> boards;
  for (int rank = 0; rank < kRanks; ++rank) boards.push_back(std::make_unique<MeetingBoard>(memory, 2, rank));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      for (int i = 0; i < kMeetings; ++i) {
        // Rank i mod 3 is the last.
        const int64_t ready = 10 * i + (rank == i % kRanks ? 5 : 0);
        wrong += boards[static_cast<size_t>(rank)]->meet(0, all, ready, [] {}) != 10 * i + 5;
        if (rank < 2) {
          const int pair[] = {0, 1};
          wrong += boards[static_cast<size_t>(rank)]->meet(1, pair, i + rank, [] {}) != i + 1;
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(MeetingBoard, WhoHasLeftIsMissed) {
  const auto memory = zeroed(MeetingBoard::num_bytes(1, 2));
  MeetingBoard own(memory, 1, 0);
  { const MeetingBoard other(memory, 1, 1); }
  const int both[] = {0, 1};
  EXPECT_THROW(own.meet(0, both, 1, [] {}), PeerLostError);
}

TEST(MeetingBoard, AWaitEndsWhenItIsTold) {
  const auto memory = zeroed(MeetingBoard::num_bytes(1, 2));
  MeetingBoard own(memory, 1, 0), other(memory, 1, 1);
  const int both[] = {0, 1};
  EXPECT_THROW(own.meet(0, both, 1, [] { throw HangError("enough"); }), HangError);
}

}  // namespace
}  // namespace trine
