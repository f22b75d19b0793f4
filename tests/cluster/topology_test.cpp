#include "cluster/topology.h"

#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <numeric>

namespace trine {
namespace {

std::vector<int> first_ranks(int n) {
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

struct Curve {
  const char* profile;
  int ranks;
  std::vector<std::pair<double, double>> points;  // bytes, microseconds
};
// All-reduces as measured, from 1 MB on. Sources: blog.chlc.cc/p/rtx4090-gpudirect-p2p-unlocked (8 x RTX 4090),
// github.com pptest_driver (4), stas00/ml-engineering (A100 80 GB, H200), VIA-Research/vTrain (A100), NVIDIA GTC24
// S62129, slide 35, digitised (H100).
const std::vector<Curve>& curves() {
  static const std::vector<Curve> list = {
      {"rtx4090",
       8,
       {{1048576, 222.8},
        {2097152, 373.4},
        {4194304, 580.8},
        {8388608, 1041.8},
        {16777216, 1972.8},
        {33554432, 3905.6},
        {67108864, 7907.1},
        {134217728, 16253}}},
      {"rtx4090-p2p",
       8,
       {{1048576, 216.1},
        {2097152, 321.5},
        {4194304, 478.7},
        {8388608, 798.6},
        {16777216, 1472.8},
        {33554432, 2870.3},
        {67108864, 5705},
        {134217728, 11382}}},
      {"rtx4090-p2p",
       4,
       {{1048576, 118.6},
        {2097152, 184.1},
        {4194304, 310.5},
        {8388608, 545.7},
        {16777216, 1021.4},
        {33554432, 2013.3},
        {67108864, 4003.2},
        {134217728, 7967.8},
        {268435456, 15918},
        {536870912, 31829},
        {1073741824, 63624}}},
      {"a100-80-sxm",
       8,
       {{1048576, 101.9},
        {2097152, 101.4},
        {4194304, 101.5},
        {8388608, 133.5},
        {16777216, 276.6},
        {33554432, 424},
        {67108864, 684.6},
        {134217728, 1327.6},
        {268435456, 2420.6},
        {536870912, 4218.4},
        {1073741824, 8203.9},
        {2147483648, 16240},
        {4294967296, 32136},
        {8589934592, 64074},
        {17179869184, 127997}}},
      {"h200-sxm",
       8,
       {{1048576, 45.96},
        {2097152, 56.87},
        {4194304, 68.5},
        {8388608, 94.39},
        {16777216, 133.52},
        {33554432, 212.88},
        {67108864, 338.92},
        {134217728, 584.38},
        {268435456, 1077.07},
        {536870912, 2086.49},
        {1073741824, 4053.34},
        {2147483648, 8010.1},
        {4294967296, 15887.1},
        {8589934592, 31484.7},
        {17179869184, 62341.4}}},
      {"a100-40-sxm",
       2,
       {{1048576, 45.1},
        {2097152, 51.13},
        {4194304, 60.26},
        {8388608, 87.36},
        {16777216, 129.4},
        {33554432, 229},
        {67108864, 404},
        {134217728, 765.7},
        {268435456, 1454.4},
        {536870912, 2833.4},
        {1073741824, 5453.4}}},
      {"a100-40-sxm",
       4,
       {{1048576, 52.74},
        {2097152, 55.94},
        {4194304, 75.8},
        {8388608, 113.6},
        {16777216, 177.8},
        {33554432, 281.7},
        {67108864, 540.6},
        {134217728, 1000.7},
        {268435456, 1927.7},
        {536870912, 3720.5},
        {1073741824, 7275.5}}},
      {"a100-40-sxm",
       8,
       {{1048576, 92.15},
        {2097152, 92.97},
        {4194304, 94.03},
        {8388608, 129.8},
        {16777216, 231},
        {33554432, 355.7},
        {67108864, 579.6},
        {134217728, 1166},
        {268435456, 2158},
        {536870912, 4187.6},
        {1073741824, 8196.4}}},
      {"h100-sxm",
       32,
       {{1048576, 135.44},
        {2097152, 140.11},
        {4194304, 150.49},
        {8388608, 216.71},
        {16777216, 257.98},
        {33554432, 439.27},
        {67108864, 565.32},
        {134217728, 938.8},
        {268435456, 1656.35},
        {536870912, 3077.48},
        {1073741824, 5910.16},
        {2147483648, 11525.6},
        {4294967296, 22798.6}}},
      {"h100-sxm",
       64,
       {{4194304, 206.44},
        {8388608, 330.3},
        {16777216, 407.78},
        {33554432, 508.16},
        {67108864, 695.37},
        {134217728, 1028.18},
        {268435456, 1710.3},
        {536870912, 3108.72},
        {1073741824, 6074.51},
        {2147483648, 11520},
        {4294967296, 22669.5}}},
      {"h100-sxm",
       128,
       {{4194304, 277.44},
        {8388608, 438.06},
        {16777216, 468.91},
        {33554432, 532.68},
        {67108864, 756.64},
        {134217728, 1096.04},
        {268435456, 1787.51},
        {536870912, 3228.34},
        {1073741824, 6087.73},
        {2147483648, 11643.2},
        {4294967296, 22972.6}}},
      {"h100-sxm",
       256,
       {{4194304, 334.23},
        {8388608, 439.78},
        {16777216, 506.41},
        {33554432, 624.74},
        {67108864, 805.38},
        {134217728, 1183.13},
        {268435456, 1937.59},
        {536870912, 3352.81},
        {1073741824, 6218.3},
        {2147483648, 11883.9},
        {4294967296, 23378.1}}},
      {"h100-sxm",
       512,
       {{4194304, 398.68},
        {8388608, 523.26},
        {16777216, 587.52},
        {33554432, 712.53},
        {67108864, 893.04},
        {134217728, 1263.73},
        {268435456, 2021.97},
        {536870912, 3468.11},
        {1073741824, 6285.31},
        {2147483648, 11973.7},
        {4294967296, 23880.7}}},
      {"h100-sxm",
       1024,
       {{4194304, 465.58},
        {8388608, 644.65},
        {16777216, 728.73},
        {33554432, 870.69},
        {67108864, 1081.34},
        {134217728, 1489.85},
        {268435456, 2103.32},
        {536870912, 3587.6},
        {1073741824, 6462.01},
        {2147483648, 12329.8},
        {4294967296, 23837.6}}},
      {"h100-sxm",
       2048,
       {{4194304, 598.89},
        {8388608, 729.09},
        {16777216, 779.95},
        {33554432, 882.58},
        {67108864, 1081.87},
        {134217728, 1434.78},
        {268435456, 2303.04},
        {536870912, 3726.45},
        {1073741824, 6923.98},
        {2147483648, 12515.7},
        {4294967296, 24253.5}}},
      {"h100-sxm",
       4096,
       {{4194304, 645.12},
        {8388608, 882.8},
        {16777216, 958.46},
        {33554432, 1099.88},
        {67108864, 1254.07},
        {134217728, 1731.42},
        {268435456, 2374.96},
        {536870912, 4176.96},
        {1073741824, 7253.24},
        {2147483648, 12972.6},
        {4294967296, 24892.3}}},
      {"h100-sxm",
       8192,
       {{4194304, 645.2},
        {8388608, 986.77},
        {16777216, 1016.68},
        {33554432, 1100.01},
        {67108864, 1254.22},
        {134217728, 1698.75},
        {268435456, 2473.76},
        {536870912, 4006.01},
        {1073741824, 6994.21},
        {2147483648, 13092.8},
        {4294967296, 24680.7}}},
  };
  return list;
}

double all_reduce_s(const std::string& profile, double bytes, int ranks) {
  Topology topology(load_profile(profile));
  const Transfer transfer = topology.collective(CollectiveOp::kAllReduce, bytes, first_ranks(ranks));
  return transfer.seconds_alone(topology.links());
}

// Mean of |error| over each curve. Two are further off: the two published curves of 8 A100 differ by 15 % from
// each other around 100 MB, and small messages of 32 to 4,096 H100 are digitised coarsely.
TEST(Topology, MeasuredAllReduces) {
  for (const Curve& curve : curves()) {
    double sum = 0;
    std::string errors;
    for (const auto& [bytes, microseconds] : curve.points) {
      const double error = all_reduce_s(curve.profile, bytes, curve.ranks) / (microseconds * 1e-6) - 1;
      sum += std::abs(error);
      errors += fmt::format(" {:.0f} MB: {:+.0f} %", bytes * 1e-6, error * 100);
    }
    const bool further = std::string_view(curve.profile) == "a100-80-sxm" || curve.ranks == 4096;
    EXPECT_LE(sum / static_cast<double>(curve.points.size()), further ? 0.085 : 0.07)
        << curve.profile << " x " << curve.ranks << errors;
    const auto& [bytes, microseconds] = curve.points.back();
    EXPECT_NEAR(all_reduce_s(curve.profile, bytes, curve.ranks) / (microseconds * 1e-6), 1, 0.08)
        << curve.profile << " x " << curve.ranks;
  }
}

// MooreThreads/SimuMax, 8 A100 PCIe behind two switches: busbw of an all-reduce of 2, 4 and 8 cards.
TEST(Topology, AllReducesBehindPcieSwitches) {
  for (const auto& [ranks, busbw] : {std::pair{2, 20.9e9}, {4, 20.8e9}, {8, 12.5e9}}) {
    const double bytes = 1e9, factor = 2.0 * (ranks - 1) / ranks;
    EXPECT_NEAR(bytes * factor / all_reduce_s("a100-80-pcie", bytes, ranks) / busbw, 1, 0.07) << ranks;
  }
}

TEST(Topology, AnIdleFabricGivesAlphaAndBeta) {
  Profile profile = load_profile("article-a100");
  profile.host.nvlink_devices = 1;
  profile.device.link_gb_per_s = 10;
  Topology topology(profile);
  for (const int n : {2, 3, 8}) {
    const Transfer t = topology.collective(CollectiveOp::kAllReduce, 1e9, first_ranks(n));
    EXPECT_NEAR(t.seconds_alone(topology.links()), 2.0 * (n - 1) / n * 0.1, 1e-9) << n;
    const Transfer half = topology.collective(CollectiveOp::kAllGather, 1e9, first_ranks(n));
    EXPECT_NEAR(half.seconds_alone(topology.links()), 1.0 * (n - 1) / n * 0.1, 1e-9) << n;
  }
  EXPECT_NEAR(topology.message(1e9, 0, 1).seconds_alone(topology.links()), 0.1, 1e-9);
  EXPECT_EQ(topology.message(1e9, 1, 1).seconds_alone(topology.links()), 0);
}

// What one host lets out, by hand. One NIC of 1 GB/s a host, and links in it that cost next to nothing.
TEST(Topology, RingsAndTreesBetweenHosts) {
  Profile profile = load_profile("article-a100");
  profile.host.devices = profile.host.devices_per_socket = profile.host.nvlink_devices = 2;
  profile.host.nvlink_gb_per_s = 1e6;
  profile.device.link_gb_per_s = 1e6;
  profile.network = {.nics = 1, .nic_gb_per_s = 1, .latency_us = 0, .oversubscription = 1};
  const auto seconds = [&](CollectiveOp op, int ranks) {
    Topology topology(profile);
    const Transfer transfer = topology.collective(op, 1e9, first_ranks(ranks));
    return transfer.bytes / topology.links().rate_alone(transfer.uses);
  };
  // Rings pass a border with all but one part, twice for an all-reduce.
  EXPECT_NEAR(seconds(CollectiveOp::kAllGather, 4), 3.0 / 4, 1e-4);
  EXPECT_NEAR(seconds(CollectiveOp::kReduceScatter, 8), 7.0 / 8, 1e-4);
  EXPECT_NEAR(seconds(CollectiveOp::kAllReduce, 8), 2 * 7.0 / 8, 1e-4);
  // Two trees of two hosts: each sends half up in one and half down in the other. The ring would take 1.5.
  EXPECT_NEAR(seconds(CollectiveOp::kAllReduce, 4), 1, 1e-4);
  // Of three hosts each sends at most half up twice and half down; the ring 2 * 5 / 6.
  EXPECT_NEAR(seconds(CollectiveOp::kAllReduce, 6), 1.5, 1e-4);
  // Eight devices sum in the switch, so that it is a tree however many hosts there are: twice all bytes.
  profile.host.devices = profile.host.devices_per_socket = profile.host.nvlink_devices = 8;
  profile.collective.nvls_gb_per_s = 2e6;
  EXPECT_NEAR(seconds(CollectiveOp::kAllReduce, 32), 2, 1e-4);
  EXPECT_NEAR(seconds(CollectiveOp::kAllReduce, 64), 2, 1e-4);
}

// What NVIDIA expects of large all-reduces of four hosts (GTC24 S62129, slide 12): busbw is the rate of the NICs.
TEST(Topology, LargeAllReducesRunAtTheRateOfTheNics) {
  for (const auto& [name, nics, busbw] :
       {std::tuple{"a100-80-sxm", 8, 192e9}, {"h100-sxm", 8, 380e9}, {"h100-sxm", 1, 48e9}}) {
    Profile profile = load_profile(name);
    profile.network.nics = nics;
    Topology topology(profile);
    const Transfer transfer = topology.collective(CollectiveOp::kAllReduce, 16e9, first_ranks(32));
    EXPECT_NEAR(16e9 * 2 * 31 / 32 / transfer.seconds_alone(topology.links()) / busbw, 1, 0.07)
        << name << " " << nics;
  }
}

// Groups that are under way at once share sockets, switches and NICs.
TEST(Topology, ConcurrentGroupsShare) {
  const auto slowdown = [](const std::string& name, const std::vector<std::vector<int>>& groups) {
    Topology topology(load_profile(name));
    std::vector<Transfer> transfers;
    for (const auto& ranks : groups)
      transfers.push_back(topology.collective(CollectiveOp::kAllReduce, 64e6, ranks));
    std::vector<std::span<const LinkUse>> uses;
    for (const Transfer& t : transfers) uses.emplace_back(t.uses);
    return topology.links().rate_alone(transfers[0].uses) / fair_rates(topology.links(), uses)[0];
  };
  // Across sockets each pair has the whole socket link only if it is alone.
  EXPECT_NEAR(slowdown("rtx4090-p2p", {{0, 4}, {1, 5}, {2, 6}, {3, 7}}), 4, 0.2);
  EXPECT_NEAR(slowdown("rtx4090-p2p", {{0, 1}, {2, 3}, {4, 5}, {6, 7}}), 1, 1e-6);
  // One NIC for eight groups over two hosts.
  std::vector<std::vector<int>> over_hosts;
  for (int i = 0; i < 8; ++i) over_hosts.push_back({i, i + 8});
  EXPECT_NEAR(slowdown("rtx4090", over_hosts), 8, 0.2);
  EXPECT_NEAR(slowdown("h100-sxm", over_hosts), 1, 0.2);
}

}  // namespace
}  // namespace trine
