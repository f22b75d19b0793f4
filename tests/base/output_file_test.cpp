#include "base/output_file.h"

#include <gtest/gtest.h>

#include "tests/data/file_limit.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::FileSizeLimit;
using testing::read_file;
using testing::ScratchFolder;

TEST(OutputFile, GrowsAndIsRewrittenFromAPlace) {
  const ScratchFolder folder;
  testing::write_file(folder / "old", "older contents");
  OutputFile file(folder / "old");
  EXPECT_EQ(read_file(file.path()), "");
  EXPECT_TRUE(file.append("abc\n"));
  EXPECT_TRUE(file.append("def\n"));
  EXPECT_EQ(read_file(file.path()), "abc\ndef\n");
  EXPECT_TRUE(file.write_from(5, "x"));
  EXPECT_EQ(read_file(file.path()), "abc\ndx");
  EXPECT_EQ(file.size(), 6);
  EXPECT_FALSE(file.failed());
  EXPECT_FALSE(file.take_warning());
}

TEST(OutputFile, AFullDiskLeavesWholePiecesAndOneWarning) {
  const ScratchFolder folder;
  OutputFile file(folder / "metrics");
  EXPECT_TRUE(file.append("0123456789"));
  {
    const FileSizeLimit limit(15);
    EXPECT_FALSE(file.append("0123456789"));  // five of them would fit
    EXPECT_EQ(read_file(file.path()), "0123456789");
    EXPECT_FALSE(file.append("0123456789"));
    EXPECT_TRUE(file.append("abcde"));
  }
  EXPECT_TRUE(file.append("fgh"));  // someone made space
  EXPECT_EQ(read_file(file.path()), "0123456789abcdefgh");
  EXPECT_TRUE(file.failed());
  const std::string warning = file.take_warning().value_or("");
  EXPECT_NE(warning.find("metrics"), std::string::npos) << warning;
  EXPECT_NE(warning.find("write failed"), std::string::npos) << warning;
  EXPECT_FALSE(file.take_warning());
  EXPECT_TRUE(file.failed());
}

TEST(OutputFile, WhatCannotBeOpenedOrWrittenDoesNotThrow) {
  OutputFile full("/dev/full");
  EXPECT_FALSE(full.append("x"));
  EXPECT_NE(full.take_warning().value_or("").find("No space left"), std::string::npos);
  const ScratchFolder folder;
  testing::write_file(folder / "file", "");
  OutputFile below_a_file(folder / "file" / "metrics");
  EXPECT_TRUE(below_a_file.failed());
  EXPECT_FALSE(below_a_file.append("x"));
  EXPECT_NE(below_a_file.take_warning().value_or("").find("open failed"), std::string::npos);
}

// The same for what a run goes on writing: of a copy by hard links (cp -al) the original stays as it is.
TEST(OutputFile, WritesOnlyIntoAFileOfItsOwn) {
  const ScratchFolder folder;
  testing::write_file(folder / "victim", "precious");
  std::filesystem::create_symlink("victim", folder / "link");
  OutputFile link(folder / "link");
  EXPECT_FALSE(link.append("x"));
  EXPECT_NE(link.take_warning().value_or("").find("it is a link"), std::string::npos);
  for (const int64_t kept : {0, 4}) {
    std::filesystem::create_hard_link(folder / "victim", folder / "copy");
    OutputFile copy(folder / "copy", kept);
    EXPECT_TRUE(copy.append("ise"));
    EXPECT_EQ(read_file(folder / "copy"), kept == 0 ? "ise" : "precise");
    std::filesystem::remove(folder / "copy");
  }
  EXPECT_EQ(read_file(folder / "victim"), "precious");
}

}  // namespace
}  // namespace trine
