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

TEST(Devices, WhatIsNotProvenGoesThroughTheHost) {
  PeerLink blind = good(0, 1), liar = good(0, 1);
  blind.access = false;
  liar.data_right = false;
  const auto choose = [](std::vector<std::string> devices, const char* nccl, std::vector<PeerLink> links) {
    const LinkChoice choice = choose_links(CommKind::kAuto, devices, nccl, links);
    EXPECT_FALSE(choice.nccl);
    return choice.reason;
  };
  EXPECT_THAT(choose(kTwo, kNccl, {blind}), HasSubstr("can not reach"));
  EXPECT_THAT(choose(kTwo, kNccl, {good(1, 0), liar}), HasSubstr("data came out wrong"));
  EXPECT_THAT(choose(kTwo, "", {}), HasSubstr("no NCCL"));
  EXPECT_THAT(choose({"a", "b", "a"}, kNccl, {}), HasSubstr("ranks 0 and 2 share a GPU"));
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
