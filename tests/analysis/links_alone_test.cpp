// What predicts must run where nothing trains: this program links analysis/ and what is before it, and no more.
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <string>

namespace trine {
namespace {

TEST(Analysis, LinksWithoutMpiCudaOneDnnAndHdf5) {
  // The libraries that this process has loaded; the system's file, which has no size to ask for.
  std::ifstream file("/proc/self/maps");
  const std::string maps((std::istreambuf_iterator<char>(file)), {});
  ASSERT_THAT(maps, testing::HasSubstr("libfmt"));
  for (const char* library : {"libmpi", "libcuda", "libnccl", "libdnnl", "libhdf5"})
    EXPECT_THAT(maps, testing::Not(testing::HasSubstr(library)));
}

}  // namespace
}  // namespace trine
