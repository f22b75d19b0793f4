// Pictures of schedules: the text cell by cell, the SVG as an XML parser reads it.
#include "parallel/schedules/picture.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/test_data.h"

namespace trine {
namespace {

std::vector<ActionTimes> unit_times(int stages) { return std::vector<ActionTimes>(static_cast<size_t>(stages)); }

TEST(SchedulePicture, Rows) {
  EXPECT_EQ(schedule_rows(make_schedules(PipelineKind::k1F1B, 2, 1, 2), unit_times(2)),
            "rank 0 | F0 F1 .  .  B0--- .  B1---\n"
            "rank 1 | .  F0 B0--- F1 B1--- .  .\n");
  EXPECT_EQ(schedule_rows(make_schedules(PipelineKind::kInterleaved, 1, 2, 1), unit_times(2)),
            "rank 0 | 0F0 1F0 1B0---- 0B0----\n");
}

// The pictures in docs/schedules.md are those of the program.
TEST(SchedulePicture, Docs) {
  std::ifstream file(test_data() + "/../../docs/schedules.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const auto kind :
       {PipelineKind::kGpipe, PipelineKind::k1F1B, PipelineKind::kInterleaved, PipelineKind::kZeroBubble}) {
    const int vpp = kind == PipelineKind::kInterleaved ? 2 : 1;
    EXPECT_THAT(text, testing::HasSubstr(schedule_rows(make_schedules(kind, 4, vpp, 4), unit_times(4 * vpp))));
  }
}

// What Python's parser finds in the document: its title, then the number of boxes and of the fills that they have.
std::string parsed(const std::string& svg) {
  const auto path =
      std::filesystem::temp_directory_path() / ("schedule_svg_" + std::to_string(::getpid()) + ".svg");
  std::ofstream(path) << svg;
  const std::string command =
      "python3 -c \"import sys, xml.etree.ElementTree as tree\n"
      "root = tree.parse(sys.argv[1]).getroot()\n"
      "space = root.tag[:-3]\n"
      "boxes = [g.find(space + 'rect') for g in root.iter(space + 'g')]\n"
      "inside = all(float(b.get('x')) + float(b.get('width')) <= float(root.get('width')) for b in boxes)\n"
      "fills = {b.get('fill') for b in boxes}\n"
      "print(root.find(space + 'title').text, len(boxes), len(fills), inside, end='')\" " +
      path.string();
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  for (int c; pipe && (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  if (pipe) ::pclose(pipe);
  std::filesystem::remove(path);
  return output;
}

TEST(SchedulePicture, Svg) {
  const auto draw = [](PipelineKind kind, int pp, int vpp, int m) {
    return parsed(schedule_svg(make_schedules(kind, pp, vpp, m), unit_times(pp * vpp)));
  };
  EXPECT_EQ(draw(PipelineKind::k1F1B, 4, 1, 8), "pp 4, 8 microbatches: bubble 27.3 % 64 2 True");
  EXPECT_EQ(draw(PipelineKind::kInterleaved, 4, 2, 8), "pp 4, 8 microbatches: bubble 15.8 % 128 4 True");
  EXPECT_EQ(draw(PipelineKind::kZeroBubble, 4, 1, 8), "pp 4, 8 microbatches: bubble 11.1 % 96 3 True");
  EXPECT_EQ(draw(PipelineKind::kGpipe, 1, 1, 2), "pp 1, 2 microbatches: bubble 0.0 % 4 2 True");
}

}  // namespace
}  // namespace trine
