#include "base/own_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::read_file;
using testing::ScratchFolder;
using testing::write_file;
using Names = std::vector<std::string>;

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  const ScratchFolder folder;
  {
    AtomicFile file(folder / "a" / "b");
    file.write("text");
    file.flush();
    EXPECT_EQ(read_file(file.temporary_path()), "text");
    EXPECT_FALSE(std::filesystem::exists(folder / "a" / "b"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder / "a"));
  AtomicFile file(folder / "a" / "b");
  file.write("text");
  file.commit();
  EXPECT_EQ(read_file(folder / "a" / "b"), "text");
  write_file(folder / "file", "");
  expect_error(ExitCode::kData, {"[file]", "create failed", "Not a directory"},
               [&] { const AtomicFile below(folder / "file" / "x"); });
}

// Links and files that stand where it writes, or wrote once, lose nothing.
TEST(AtomicFile, NothingElseIsWrittenToOrRemoved) {
  const ScratchFolder folder;
  write_file(folder / "victim", "precious");
  std::filesystem::create_symlink("victim", folder / "out.tmp");
  std::filesystem::create_symlink("victim", folder / "out.tmp-0123456789abcdef");
  std::filesystem::create_symlink("victim", folder / "out");
  for (const char* mine : {"out.tmp-", "out.tmp-mine", "out.tmp-0123456789abcdeX", "out.tmp-0123456789abcdef0",
                           "other.tmp-0123456789abcdef"})
    write_file(folder / mine, "precious");
  Names before = folder.names();
  AtomicFile file(folder / "out");
  file.write("text");
  file.commit();
  EXPECT_EQ(folder.names(), before);
  EXPECT_EQ(read_file(folder / "out"), "text");
  EXPECT_FALSE(std::filesystem::is_symlink(folder / "out")) << "replaced, not followed";
  before.erase(std::find(before.begin(), before.end(), "out"));
  for (const std::string& name : before) EXPECT_EQ(read_file(folder / name), "precious") << name;
}

TEST(AtomicFile, WhatAKilledWriterLeftIsRemovedByTheNextAndALivingOnesStays) {
  const ScratchFolder folder;
  write_file(folder / "out.tmp-0123456789abcdef", "of a killed one");
  AtomicFile first(folder / "out"), second(folder / "out");
  Names both = {first.temporary_path().filename(), second.temporary_path().filename()};
  std::sort(both.begin(), both.end());
  EXPECT_EQ(folder.names(), both);
  first.write("first");
  second.write("second");
  first.commit();
  EXPECT_EQ(read_file(folder / "out"), "first");
  second.commit();
  EXPECT_EQ(read_file(folder / "out"), "second");
  EXPECT_EQ(folder.names(), Names{"out"});
}

TEST(OwnFile, IsOpenedCutAndCopiedWhereItHasOtherNames) {
  const ScratchFolder folder;
  std::string problem;
  const auto open = [&](const char* name, int64_t kept) {
    const int fd = open_own_file(folder / name, O_WRONLY | O_APPEND, problem, kept);
    if (fd < 0) return false;
    EXPECT_EQ(::write(fd, "x", 1), 1);
    ::close(fd);
    return true;
  };
  EXPECT_TRUE(open("new", 0));
  write_file(folder / "old", std::string(200'000, 'o'));
  std::filesystem::create_hard_link(folder / "old", folder / "copy");
  EXPECT_TRUE(open("copy", 150'000));
  EXPECT_EQ(read_file(folder / "copy"), std::string(150'000, 'o') + "x");
  EXPECT_TRUE(open("old", 5));
  EXPECT_EQ(read_file(folder / "old"), "ooooox");
  EXPECT_TRUE(open("old", 100));
  EXPECT_EQ(read_file(folder / "old"), "oooooxx");
  EXPECT_EQ(folder.names(), (Names{"copy", "new", "old"}));
}

TEST(OwnFile, RefusesLinksPipesAndFolders) {
  const ScratchFolder folder;
  write_file(folder / "victim", "precious");
  std::filesystem::create_symlink("victim", folder / "link");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  std::filesystem::create_directory(folder / "folder");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0666), 0);
  for (const auto& [name, word] : {std::pair{"link", "link"},
                                   {"dangling", "link"},
                                   {"folder", "directory"},
                                   {"pipe", "No such device"},
                                   {"no/such", "No such file"}}) {
    std::string problem;
    EXPECT_EQ(open_own_file(folder / name, O_WRONLY, problem, 0), -1) << name;
    EXPECT_NE(problem.find(word), std::string::npos) << name << ": " << problem;
  }
  EXPECT_EQ(read_file(folder / "victim"), "precious");
  EXPECT_FALSE(std::filesystem::exists(folder / "nowhere"));
}

}  // namespace
}  // namespace trine
