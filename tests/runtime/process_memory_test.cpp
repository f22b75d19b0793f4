#include "runtime/device/process_memory.h"

#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Memory that nobody has touched.
struct Untouched {
  explicit Untouched(int64_t size)
      : bytes(static_cast<size_t>(size)),
        begin(static_cast<char*>(
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    ::madvise(begin, bytes, MADV_NOHUGEPAGE);
  }
  ~Untouched() { ::munmap(begin, bytes); }
  size_t bytes;
  char* begin;
};

TEST(ProcessMemory, CountsTouchedPages) {
  const Untouched memory(640 * kMiB);  // more than one look at the page table
  EXPECT_EQ(resident_bytes_in(memory.begin, memory.bytes), 0);
  std::memset(memory.begin + 600 * kMiB, 1, 8 * kMiB);
  EXPECT_EQ(resident_bytes_in(memory.begin, memory.bytes), 8 * kMiB);
  EXPECT_EQ(resident_bytes_in(memory.begin + 600 * kMiB + 100, 1000), 1000);
  EXPECT_EQ(resident_bytes_in(memory.begin + 600 * kMiB - 50, 100), 50);
  EXPECT_EQ(resident_bytes_in(memory.begin, 0), 0);
}

TEST(ProcessMemory, ThePeakStaysWhenMemoryGoes) {
  const int64_t before = resident_bytes();
  {
    const Untouched memory(64 * kMiB);
    std::memset(memory.begin, 1, memory.bytes);
    EXPECT_NEAR(static_cast<double>(resident_bytes() - before), 64.0 * kMiB, 2.0 * kMiB);
  }
  EXPECT_LT(resident_bytes(), before + 8 * kMiB);
  EXPECT_GE(peak_resident_bytes(), before + 62 * kMiB);
}

TEST(ProcessMemory, ThisMachineHasSome) {
  EXPECT_GT(available_bytes(), 16 * kMiB);
  EXPECT_LT(available_bytes(), int64_t{1} << 50);
}

// A machine in a folder.
class FakeMachine {
 public:
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((folder_ / file).parent_path());
    testing::write_file(folder_ / file, text);
  }
  int64_t available() const { return available_bytes(folder_.path()); }

 private:
  testing::ScratchFolder folder_;
};

TEST(AvailableMemory, IsTheMachinesWithoutALimit) {
  FakeMachine machine;
  machine.write("proc/meminfo", "MemTotal:       24684092 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n");
  EXPECT_EQ(machine.available(), 2 * kMiB);
  machine.write("proc/self/cgroup", "0::/user\n");
  machine.write("sys/fs/cgroup/user/memory.max", "max\n");
  machine.write("sys/fs/cgroup/user/memory.current", "1000\n");
  EXPECT_EQ(machine.available(), 2 * kMiB);
  machine.write("sys/fs/cgroup/user/memory.max", "99999999999\n");
  EXPECT_EQ(machine.available(), 2 * kMiB);
}

TEST(AvailableMemory, RespectsControlGroupsAndTheirAncestors) {
  FakeMachine machine;
  machine.write("proc/meminfo", "MemAvailable:   1048576 kB\n");
  machine.write("proc/self/cgroup", "0::/slurm/job 1\n");
  machine.write("sys/fs/cgroup/slurm/job 1/memory.max", "100000\n");
  machine.write("sys/fs/cgroup/slurm/job 1/memory.current", "70000\n");
  EXPECT_EQ(machine.available(), 30000);
  machine.write("sys/fs/cgroup/slurm/job 1/memory.stat", "anon 5\ninactive_anon 7\ninactive_file 20000\n");
  EXPECT_EQ(machine.available(), 50000);  // page cache goes when memory is wanted
  machine.write("sys/fs/cgroup/slurm/memory.max", "10000\n");
  machine.write("sys/fs/cgroup/slurm/memory.current", "9000\n");
  EXPECT_EQ(machine.available(), 1000);
  machine.write("sys/fs/cgroup/slurm/memory.current", "11000\n");
  EXPECT_EQ(machine.available(), 0);
}

TEST(AvailableMemory, ReadsVersion1AndAContainersOwnMount) {
  FakeMachine machine;
  machine.write("proc/meminfo", "MemAvailable:   1048576 kB\n");
  machine.write("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/0123\n0::/\n");
  machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "100000\n");  // the group itself, seen from inside
  machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "30000\n");
  machine.write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 10000\n");
  EXPECT_EQ(machine.available(), 80000);
}

}  // namespace
}  // namespace trine
