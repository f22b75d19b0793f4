#include "runtime/measure/doctor.h"

#include <fstream>
#include <gmock/gmock.h>

#include "base/error.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void write(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << text << '\n';
}

TEST(Doctor, CoresThatAreSharedBoundOrIdle) {
  Launch launch{.num_ranks = 4, .ranks_on_host = 4, .launched = true};
  EXPECT_THAT(launch_findings(launch, 4, 4, 4, 1), IsEmpty());
  EXPECT_THAT(launch_findings(launch, 4, 2, 2, 1), ElementsAre(HasSubstr("share 2 cores")));
  EXPECT_THAT(launch_findings(launch, 4, 4, 64, 1),
              ElementsAre(AllOf(HasSubstr("4 of the 64"), HasSubstr("--bind-to"))));
  EXPECT_THAT(launch_findings(launch, 4, 16, 16, 1),
              ElementsAre(AllOf(HasSubstr("12 of 16 cores stay idle"), HasSubstr("--threads to 4"))));
  EXPECT_THAT(launch_findings({}, 1, 2, 8, 2), ElementsAre(HasSubstr("Raise the quota")));
}

TEST(Doctor, AGroupThatCrossesHosts) {
  EXPECT_THAT(group_findings({"a", "a", "b", "b"}, 2, 1), IsEmpty());
  EXPECT_THAT(group_findings({"a", "b", "b", "c"}, 1, 1), IsEmpty());
  EXPECT_THAT(group_findings({"a", "a", "a", "b", "b", "b"}, 2, 1),
              ElementsAre(AllOf(HasSubstr("ranks 2 to 3"), HasSubstr("2 hosts (a, b)"))));
}

TEST(Doctor, ClocksBelowWhatTheCoresCan) {
  const testing::ScratchFolder root;
  EXPECT_THAT(clock_findings(root.path()), IsEmpty());  // virtual machines say nothing
  const auto cpu = root.path() / "sys/devices/system/cpu/cpu0/cpufreq";
  write(cpu / "scaling_governor", "powersave"), write(cpu / "scaling_driver", "acpi-cpufreq");
  write(cpu / "cpuinfo_max_freq", "3500000"), write(cpu / "scaling_max_freq", "2000000");
  EXPECT_THAT(clock_findings(root.path()), ElementsAre(HasSubstr("performance"), HasSubstr("2.0 GHz of 3.5")));
  write(cpu / "scaling_driver", "intel_pstate"), write(cpu / "scaling_max_freq", "3500000");
  EXPECT_THAT(clock_findings(root.path()), IsEmpty());
}

TEST(Doctor, ALinkThatIsNarrowerThanItsCard) {
  const testing::ScratchFolder root;
  EXPECT_FALSE(has_nvidia_device(root.path()));
  const auto gpu = root.path() / "sys/bus/pci/devices/0000:01:00.0";
  write(gpu / "vendor", "0x10de"), write(gpu / "class", "0x030000");
  write(gpu / "current_link_width", "16"), write(gpu / "max_link_width", "16");
  write(gpu / "current_link_speed", "2.5 GT/s PCIe"), write(gpu / "max_link_speed", "16.0 GT/s PCIe");
  EXPECT_TRUE(has_nvidia_device(root.path()));
  EXPECT_THAT(pcie_findings(root.path()), IsEmpty());  // it is idle
  write(gpu / "current_link_width", "4"), write(gpu / "max_link_speed", "5.0 GT/s PCIe");
  EXPECT_THAT(pcie_findings(root.path()),
              ElementsAre(AllOf(HasSubstr("4 of 16 PCIe lanes"), HasSubstr("25 %")), HasSubstr("generation 3")));
  write(gpu / "vendor", "0x8086");
  EXPECT_THAT(pcie_findings(root.path()), IsEmpty());
}

TEST(Doctor, DisksAndDrift) {
  const testing::ScratchFolder folder;
  EXPECT_GT(disk_bytes_per_s(folder.path(), 1), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  testing::expect_error(ExitCode::kData, {"No such file"}, [&] { disk_bytes_per_s(folder / "none", 1); });
  EXPECT_THAT(disk_findings(2e9, "x"), IsEmpty());
  EXPECT_THAT(disk_findings(100e6, "x"), ElementsAre(AllOf(HasSubstr("100 MB/s"), HasSubstr("100 s"))));
  EXPECT_THAT(drift_findings(1.02), IsEmpty());
  EXPECT_THAT(drift_findings(1.5), ElementsAre(HasSubstr("50 % longer")));
  EXPECT_THAT(exchange_findings(1.4), IsEmpty());
  EXPECT_THAT(exchange_findings(0), IsEmpty());  // of one rank
  EXPECT_THAT(exchange_findings(4.12), ElementsAre(HasSubstr("4.1 times as long")));
}

TEST(Doctor, TheCpuHasAName) {
  const testing::ScratchFolder root;
  EXPECT_EQ(cpu_name(root.path()), "CPU");
  write(root.path() / "proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC 9R14");
  EXPECT_EQ(cpu_name(root.path()), "AMD EPYC 9R14");
}

}  // namespace
}  // namespace trine
