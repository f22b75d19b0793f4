#include "comm/cores.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <string>
#include <vector>

#include "tests/data/scratch.h"

namespace trine {
namespace {

CpuSet cpus(size_t first, size_t count) {
  CpuSet set;
  for (size_t i = 0; i < count; ++i) set.set(first + i);
  return set;
}

int usable(const std::vector<CpuSet>& ranks, std::optional<double> quota = {}) {
  return usable_cores(ranks, quota);
}

TEST(UsableCores, AreThoseOfTheBindings) {
  EXPECT_EQ(usable({cpus(0, 1)}), 1);
  EXPECT_EQ(usable({cpus(3, 12)}), 12);
  EXPECT_EQ(usable({cpus(1020, 8)}), 8);  // beyond what glibc's cpu_set_t holds
  EXPECT_EQ(usable({cpus(0, 4), cpus(4, 4)}), 8);
  // A shared mask, as taskset or a container's cpuset gives it, is there once, however many ranks see it.
  EXPECT_EQ(usable({cpus(0, 4), cpus(0, 4)}), 4);
  EXPECT_EQ(usable({cpus(0, 2), cpus(0, 2), cpus(0, 2), cpus(0, 2)}), 1);
  // Two of three ranks share a socket: the third gets no more than they.
  EXPECT_EQ(usable({cpus(0, 16), cpus(16, 16), cpus(0, 16)}), 3 * 8);
  EXPECT_EQ(usable({cpus(0, 7), cpus(0, 7)}), 6);
  EXPECT_EQ(usable({cpus(0, 3), cpus(0, 3), cpus(0, 3)}), 3);  // three thirds are one
}

TEST(UsableCores, AreNoMoreThanTheQuotaPaysFor) {
  EXPECT_EQ(usable({cpus(0, 16)}, 4.0), 4);
  EXPECT_EQ(usable({cpus(0, 16)}, 2.5), 2);
  EXPECT_EQ(usable({cpus(0, 16)}, 0.5), 1);
  EXPECT_EQ(usable({cpus(0, 2)}, 4.0), 2);
  EXPECT_EQ(usable({cpus(0, 4), cpus(4, 4)}, 6.0), 6);
  EXPECT_EQ(usable({cpus(0, 4), cpus(4, 4)}, 1.0), 1);
}

TEST(UsableCores, ThisProcessHasWhatTheKernelSays) {
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  EXPECT_EQ(allowed_cpus().count(), static_cast<size_t>(CPU_COUNT(&set)));
  for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) EXPECT_EQ(allowed_cpus()[cpu], CPU_ISSET(cpu, &set) != 0) << cpu;
}

// A machine in a folder.
class CpuQuota : public ::testing::Test {
 protected:
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((folder_ / file).parent_path());
    testing::write_file(folder_ / file, text);
  }
  std::optional<double> quota() const { return cpu_quota(folder_.path()); }

 private:
  testing::ScratchFolder folder_;
};

TEST_F(CpuQuota, IsNoneWithoutALimit) {
  EXPECT_EQ(quota(), std::nullopt);
  write("proc/self/cgroup", "0::/user.slice\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(CpuQuota, IsTheTightestOfTheOwnGroupAndThoseAboveIt) {
  write("proc/self/cgroup", "0::/kubepods/pod 1/main\n");
  write("sys/fs/cgroup/kubepods/pod 1/main/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/kubepods/pod 1/cpu.max", "250000 100000\n");
  EXPECT_EQ(quota(), 2.5);
  write("sys/fs/cgroup/kubepods/pod 1/main/cpu.max", "20000 10000\n");
  EXPECT_EQ(quota(), 2.0);
  write("sys/fs/cgroup/kubepods/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota(), 0.5);
}

TEST_F(CpuQuota, OfAContainerStandsAtItsOwnMount) {
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota(), 1.5);
  write("proc/self/cgroup", "0::/system.slice/docker-0123.scope\n");  // the host's path: no such folder in here
  EXPECT_EQ(quota(), 1.5);
}

TEST_F(CpuQuota, OfVersion1HasItsOwnFiles) {
  write("proc/self/cgroup", "4:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n2:cpuset:/docker/0123\n0::/\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
  EXPECT_EQ(quota(), 3.0);
  write("sys/fs/cgroup/cpu,cpuacct/docker/0123/cpu.cfs_quota_us", "25000\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/0123/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(quota(), 0.5);
  write("proc/self/cgroup", "3:cpu:/job\n");  // alone in its folder
  write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "100000\n");
  write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(quota(), 2.0);
}

}  // namespace
}  // namespace trine
