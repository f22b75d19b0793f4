// Messages of more than 2^32 elements, of memory that nobody touches: only what the transport is asked for counts.
#include <gmock/gmock.h>
#include <map>

#include "base/error.h"
#include "base/shape.h"
#include "comm/communicator.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

class NoMessage final : public Message {
 public:
  bool test() override { return true; }
  bool wait(Deadline) override { return true; }
};

struct Range {
  int64_t begin, bytes;  // from the buffer's begin
  bool operator==(const Range&) const = default;
};
void PrintTo(const Range& range, std::ostream* out) { *out << range.bytes << " bytes at " << range.begin; }
struct Asked {
  std::map<int, Range> sends, receives;  // by peer
};

class Recorder final : public Transport {
 public:
  Recorder(Asked& asked, const std::byte* buffer) : asked_(asked), buffer_(buffer) {}
  std::unique_ptr<Message> send(const void* data, size_t bytes, int peer, int) override {
    return record(asked_.sends, data, bytes, peer);
  }
  std::unique_ptr<Message> receive(void* data, size_t bytes, int peer, int) override {
    return record(asked_.receives, data, bytes, peer);
  }

 private:
  std::unique_ptr<Message> record(std::map<int, Range>& of, const void* data, size_t bytes, int peer) {
    TRINE_CHECK(
        of.emplace(peer, Range{static_cast<const std::byte*>(data) - buffer_, static_cast<int64_t>(bytes)}).second);
    return std::make_unique<NoMessage>();
  }
  Asked& asked_;
  const std::byte* const buffer_;
};

// What rank 1 of 3 asks for.
Asked asked_by(const std::function<void(Communicator&, std::byte*)>& calls) {
  std::byte* const buffer = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);  // never read
  Asked asked;
  Communicator group("test", {0, 1, 2}, 1, std::make_unique<Recorder>(asked, buffer), 60s);
  calls(group, buffer);
  return asked;
}

constexpr int64_t kCount = (int64_t{1} << 33) + 4;  // elements; 3 shards of which the last is shorter

TEST(LargeMessages, FromRankToRank) {
  const Asked asked = asked_by([](Communicator& group, std::byte* buffer) {
    group.send(buffer, kCount, DType::kF32, 2, 0);
    group.recv(buffer + 4 * kCount, kCount, DType::kF32, 0, 0);
  });
  EXPECT_EQ(asked.sends.at(2), (Range{0, 4 * kCount}));
  EXPECT_EQ(asked.receives.at(0), (Range{4 * kCount, 4 * kCount}));
}

TEST(LargeMessages, GatheredShards) {
  const int64_t shard = 4 * split_size(kCount, 3, 0);
  const Asked asked = asked_by([&](Communicator& group, std::byte* buffer) {
    group.all_gather(buffer + shard, buffer, kCount, DType::kF32);
  });
  for (int peer : {0, 2}) EXPECT_EQ(asked.sends.at(peer), (Range{shard, shard}));
  EXPECT_EQ(asked.receives.at(0), (Range{0, shard}));
  EXPECT_EQ(asked.receives.at(2), (Range{2 * shard, 4 * kCount - 2 * shard}));
}

// Rows of 2^31 elements.
TEST(LargeMessages, GatheredRows) {
  const int64_t row = 2 * (int64_t{1} << 31);
  const Asked asked = asked_by([&](Communicator& group, std::byte* buffer) {
    group.all_gather(buffer + 2 * row, buffer, 5, DType::kBF16, row / 2);
  });
  EXPECT_EQ(asked.sends.at(0), (Range{2 * row, 2 * row}));
  EXPECT_EQ(asked.receives.at(2), (Range{4 * row, row}));
}

TEST(LargeMessages, FromTheRoot) {
  const Asked asked =
      asked_by([](Communicator& group, std::byte* buffer) { group.broadcast(buffer, kCount, DType::kI64, 1); });
  for (int peer : {0, 2}) EXPECT_EQ(asked.sends.at(peer), (Range{0, 8 * kCount}));
}

}  // namespace
}  // namespace trine
