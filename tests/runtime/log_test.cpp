#include "runtime/job/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::read_file;
using testing::ScratchFolder;

// Two files in the place of stdout and stderr.
struct Streams {
  ScratchFolder folder;
  std::FILE* out = std::fopen((folder / "out").c_str(), "w");
  std::FILE* err = std::fopen((folder / "err").c_str(), "w");
  ~Streams() { std::fclose(out), std::fclose(err); }
  std::string printed() const { return read_file(folder / "out"); }
  std::string warned() const { return read_file(folder / "err"); }
  std::string logged() const { return read_file(folder / "log.txt"); }
};

TEST(Log, GoesToTheTerminalAndTheFile) {
  Streams streams;
  Log log(0, false, streams.out, streams.err);
  log.info("before the folder");
  log.open(streams.folder / "log.txt");
  log.info("one\ntwo");
  log.warn("careful");
  log.status("no terminal, no bar");
  EXPECT_FALSE(log.shows_status());
  EXPECT_EQ(streams.printed(), "before the folder\none\ntwo\n");
  EXPECT_EQ(streams.warned(), "warning: careful\n");
  EXPECT_EQ(streams.logged(),
            "[rank 0] before the folder\n[rank 0] one\n[rank 0] two\n[rank 0] warning: careful\n");
}

TEST(Log, QuietAndOtherRanksPrintLess) {
  Streams streams;
  Log quiet(0, true, streams.out, streams.err), other(3, false, streams.out, streams.err);
  quiet.open(streams.folder / "log.txt");
  other.open(streams.folder / "log.txt");
  quiet.info("a");
  quiet.warn("b");
  other.info("c");
  other.warn("d");
  other.fail("e");
  EXPECT_EQ(streams.printed(), "");
  EXPECT_EQ(streams.warned(), "warning: b\ne\n");
  EXPECT_EQ(streams.logged(), "[rank 0] a\n[rank 0] warning: b\n[rank 3] c\n[rank 3] warning: d\n[rank 3] e\n");
}

TEST(Log, AFullDiskIsOneWarning) {
  Streams streams;
  Log log(0, false, streams.out, streams.err);
  log.open("/dev/full");
  for (int i = 0; i < 3; ++i) log.info("line");
  EXPECT_EQ(streams.printed(), "line\nline\nline\n");
  const std::string warned = streams.warned();
  EXPECT_NE(warned.find("No space left"), std::string::npos) << warned;
  EXPECT_EQ(std::count(warned.begin(), warned.end(), '\n'), 1) << warned;
  Log nowhere(0, false, streams.out, streams.err);
  nowhere.open(streams.folder / "no such folder" / "log.txt");
  EXPECT_NE(streams.warned().find("no such folder"), std::string::npos);
}

TEST(Log, TheStatusLineIsRedrawnInPlace) {
  const ScratchFolder folder;
  int terminal, program;
  const winsize size{.ws_row = 24, .ws_col = 20};
  ASSERT_EQ(::openpty(&terminal, &program, nullptr, nullptr, &size), 0);
  std::FILE* out = ::fdopen(program, "w");
  {
    Log log(0, false, out, out);
    log.open(folder / "log.txt");
    ASSERT_TRUE(log.shows_status());
    log.status("[=   ]");
    log.info("a line");
    log.status("123456789012345678901234567890");  // wider than the terminal
  }
  const std::string erase = "\r\x1b[K";
  const std::string expected =
      erase + "[=   ]" + erase + "a line\r\n" + erase + "[=   ]" + erase + "1234567890123456789" + erase;
  std::string seen;
  pollfd waiting{.fd = terminal, .events = POLLIN, .revents = 0};
  while (seen.size() < expected.size() && ::poll(&waiting, 1, 5000) > 0) {
    char part[256];
    seen.append(part, static_cast<size_t>(std::max<ssize_t>(::read(terminal, part, sizeof part), 0)));
  }
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(read_file(folder / "log.txt"), "[rank 0] a line\n");
  std::fclose(out);
  ::close(terminal);
}

// A planted link may not lead it elsewhere, a copy of hard links may not change the original, a pipe may not block.
TEST(Log, WritesOnlyIntoAFileOfItsOwn) {
  Streams streams;
  testing::write_file(streams.folder / "victim", "precious\n");
  std::filesystem::create_symlink("victim", streams.folder / "link");
  std::filesystem::create_hard_link(streams.folder / "victim", streams.folder / "copy");
  ASSERT_EQ(::mkfifo((streams.folder / "pipe").c_str(), 0666), 0);
  for (const char* name : {"link", "copy", "pipe"}) {
    Log log(0, true, streams.out, streams.err);
    log.open(streams.folder / name);
    log.info("a line");
  }
  EXPECT_EQ(read_file(streams.folder / "victim"), "precious\n");
  EXPECT_EQ(read_file(streams.folder / "copy"), "precious\n[rank 0] a line\n");
  const std::string warned = streams.warned();
  EXPECT_NE(warned.find("link cannot be opened: it is a link"), std::string::npos) << warned;
  EXPECT_NE(warned.find("pipe cannot be opened"), std::string::npos) << warned;
}

}  // namespace
}  // namespace trine
