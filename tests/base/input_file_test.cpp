#include "base/input_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/mapped_file.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::ScratchFolder;
using testing::write_file;

// None of these may block: a pipe that nobody writes to would, for ever.
TEST(InputFile, TakesRegularFilesAndLinksToThem) {
  const ScratchFolder folder;
  write_file(folder / "file", "hello");
  std::filesystem::create_symlink("file", folder / "link");
  EXPECT_EQ(read_text_file(folder / "file"), "hello");
  EXPECT_EQ(read_text_file(folder / "link"), "hello");
  write_file(folder / "empty", "");
  EXPECT_EQ(read_text_file(folder / "empty"), "");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  (folder / "socket").string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(socket);
  const auto refused = [](const std::filesystem::path& path, const char* why) {
    expect_error(ExitCode::kData, {path.string(), why}, [&] { InputFile{path}; });
  };
  refused(folder.path(), "a folder");
  refused(folder / "pipe", "a pipe");
  refused(folder / "socket", "socket");
  refused("/dev/zero", "a device");
  refused(folder / "absent", "No such file");
  EXPECT_EQ(kind_of(folder / "absent"), PathKind::kNothing);
  EXPECT_EQ(kind_of(folder / "file/below"), PathKind::kNothing);
  EXPECT_EQ(kind_of(folder / "pipe"), PathKind::kOther);
  EXPECT_TRUE(is_file(folder / "link") && is_folder(folder.path()) && !is_folder(folder / "file"));
  std::filesystem::create_symlink("loop", folder / "loop");
  expect_error(ExitCode::kData, {"loop"}, [&] { kind_of(folder / "loop"); });  // not: nothing
  expect_error(ExitCode::kData, {"file", "5 B", "at most 4 B"}, [&] { read_text_file(folder / "file", 4); });
}

TEST(InputFile, AFileThatIsCutIsAnErrorAndNoSignal) {
  const ScratchFolder folder;
  write_file(folder / "file", std::string(3 << 20, 'x'));
  const InputFile file(folder / "file");
  int64_t bytes = 0;
  file.read_blocks(5, file.size(), [&](auto block) { bytes += std::ssize(block); });
  EXPECT_EQ(bytes, (3 << 20) - 5);
  NumbersInFile<int32_t> numbers(file, 4, 700'000);
  for (const int64_t i : {0, 1, 65535, 65536, 300'000, 699'999}) EXPECT_EQ(numbers[i], 0x78787878);
  std::filesystem::resize_file(folder / "file", 1000);
  std::vector<std::byte> to(1001);
  file.read(0, std::span(to).first(1000));
  expect_error(ExitCode::kData, {"file", "byte 1000", "need 1001", "cut"}, [&] { file.read(0, to); });
  EXPECT_THROW(file.read_blocks(0, file.size(), [](auto) {}), DataError);
}

TEST(InputFile, OpensMoreFilesThanTheDefaultLimit) {
  const ScratchFolder folder;
  write_file(folder / "file", "hello");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{100, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<InputFile> files;
  for (int i = 0; i < 200; ++i) files.emplace_back(folder / "file");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{100, 100};
  EXPECT_EXIT(
      {
        ::setrlimit(RLIMIT_NOFILE, &none);
        try {
          InputFile{folder / "file"};
        } catch (const IoError& error) {
          std::fputs(error.what(), stderr);
        }
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "ulimit -n");
}

TEST(MappedFile, ALostPageEndsWithTheFilesName) {
  const ScratchFolder folder;
  write_file(folder / "file", std::string(3 << 20, 'x'));
  const MappedFile file(folder / "file");
  ASSERT_EQ(file.size(), 3u << 20);
  std::filesystem::resize_file(folder / "file", 1000);
  EXPECT_EXIT(std::exit(static_cast<int>(file.bytes()[2 << 20])), ::testing::ExitedWithCode(3), "file.*cut while");
}

TEST(BusErrorWatch, LeavesOtherSignalsAloneAndCanGoOnWithAnEmptyPage) {
  const ScratchFolder folder;
  const auto path = folder / "file";
  write_file(path, std::string(1 << 20, 'x'));
  const auto map = [&] {
    const int fd = ::open(path.c_str(), O_RDWR);
    void* const data = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return std::span(static_cast<std::byte*>(data), size_t{1} << 20);
  };
  const auto watched = map(), other = map();
  const BusErrorWatch watch(watched, path, BusErrorWatch::OnLoss::kEmptyPage);
  std::filesystem::resize_file(path, 0);
  watched[500'000] = std::byte{7};
  EXPECT_EQ(watched[500'000], std::byte{7});
  EXPECT_EQ(watched[500'001], std::byte{0});
#if !defined(__SANITIZE_ADDRESS__)  // which takes the signal for itself
  EXPECT_EXIT(std::exit(static_cast<int>(other[0])), ::testing::KilledBySignal(SIGBUS), "");
  EXPECT_EXIT(::raise(SIGBUS), ::testing::KilledBySignal(SIGBUS), "");
#endif
  ::munmap(watched.data(), watched.size());
  ::munmap(other.data(), other.size());
}

}  // namespace
}  // namespace trine
