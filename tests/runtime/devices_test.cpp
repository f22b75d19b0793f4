#include "runtime/device/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace trine {
namespace {

using testing::HasSubstr;

PeerLink good(int from, int to) {
  return {.from = from,
          .to = to,
          .tested = true,
          .access = true,
          .data_right = true,
          .bytes_per_s = 20e9,
          .latency_s = 9e-6};
}
const std::vector<std::string> kTwo = {"a", "b"};
constexpr const char* kNccl = "NCCL 2.28.9";

TEST(Devices, GpusThatReachEachOtherTalkByNccl) {
  PeerLink slow = good(1, 0);
  slow.bytes_per_s = 12.5e9;
  const LinkChoice choice = choose_links(CommKind::kAuto, kTwo, kNccl, {good(0, 1), slow});
  EXPECT_TRUE(choice.nccl);
  EXPECT_THAT(choice.reason, HasSubstr("at least 12.5 GB/s"));
}

TEST(Devices, LinksThatAreNotProvenKeepNcclFromPeerAccess) {
  PeerLink blind = good(0, 1), liar = good(0, 1);
  blind.access = false;
  liar.data_right = false;
  for (const CommKind wish : {CommKind::kAuto, CommKind::kNccl})
    for (const auto& [links, why] : {std::pair{std::vector{good(1, 0), blind}, "can not reach"},
                                     {std::vector{liar, good(1, 0)}, "data came out wrong"}}) {
      const LinkChoice choice = choose_links(wish, kTwo, kNccl, links);
      EXPECT_TRUE(choice.nccl);
      EXPECT_FALSE(choice.peer_to_peer);
      EXPECT_THAT(choice.reason, HasSubstr(why));
    }
  EXPECT_TRUE(choose_links(CommKind::kAuto, kTwo, kNccl, {good(0, 1), good(1, 0)}).peer_to_peer);
}

TEST(Devices, WhereNcclCannotBeTheHostStages) {
  EXPECT_FALSE(choose_links(CommKind::kAuto, kTwo, "", {}).nccl);
  const LinkChoice shared = choose_links(CommKind::kAuto, {"a", "b", "a"}, kNccl, {});
  EXPECT_FALSE(shared.nccl);
  EXPECT_THAT(shared.reason, HasSubstr("ranks 0 and 2 share a GPU"));
}

TEST(Devices, TheFasterWayIsTakenForTheStepsOwnMessages) {
  const std::vector<RunMessage> messages = {
      {.axis = Axis::kTp, .op = RunMessage::Op::kAllGather, .bytes = 16 << 20, .per_step = 100},
      {.axis = Axis::kPp, .op = RunMessage::Op::kSend, .bytes = 1 << 10, .per_step = 10}};
  const auto timer = [](double gather_s, double send_s, bool right = true) -> MessageTimer {
    return [=](const RunMessage& message) {
      return MessageTime{message.op == RunMessage::Op::kSend ? send_s : gather_s, right};
    };
  };
  const LinkChoice possible{.nccl = true, .peer_to_peer = false, .reason = "no access"};
  const LinkChoice nccl = choose_faster(possible, messages, timer(1e-3, 50e-3), timer(7e-3, 1e-3));
  EXPECT_TRUE(nccl.nccl);  // 600 ms against 710 ms
  EXPECT_FALSE(nccl.peer_to_peer);
  EXPECT_THAT(nccl.reason, HasSubstr("no access; a step's messages take 600.00 ms by NCCL, 710.00 ms staged"));
  EXPECT_FALSE(choose_faster(possible, messages, timer(1e-3, 62e-3), timer(7e-3, 1e-3)).nccl);
  const LinkChoice wrong = choose_faster(possible, messages, timer(1e-6, 1e-6, false), timer(1, 1));
  EXPECT_FALSE(wrong.nccl);
  EXPECT_THAT(wrong.reason, HasSubstr("wrong data (tp all-gather of 16.0 MiB)"));
}

TEST(Devices, LinksThatNobodyCanTryAreLeftToNccl) {
  EXPECT_TRUE(choose_links(CommKind::kAuto, kTwo, kNccl, {}).nccl);  // of two hosts
  EXPECT_THAT(choose_links(CommKind::kAuto, kTwo, kNccl, {PeerLink{.from = 0, .to = 1}}).reason,
              HasSubstr("not tested"));
}

TEST(Devices, AWishIsFulfilledOrRefused) {
  PeerLink blind = good(0, 1);
  blind.access = false;
  EXPECT_FALSE(choose_links(CommKind::kMpi, kTwo, kNccl, {good(0, 1)}).nccl);
  EXPECT_TRUE(choose_links(CommKind::kNccl, kTwo, kNccl, {blind}).nccl);
  EXPECT_THROW(choose_links(CommKind::kNccl, kTwo, "", {}), ConfigError);
  EXPECT_THROW(choose_links(CommKind::kNccl, {"a", "a"}, kNccl, {}), ConfigError);
}

TEST(Devices, TheCpuIsAlwaysThere) {
  EXPECT_NO_THROW(check_device(DeviceKind::kCpu));
  EXPECT_FALSE(make_backend(DeviceKind::kCpu, 1, nullptr)->room());
}

}  // namespace
}  // namespace trine
