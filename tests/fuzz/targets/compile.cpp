// The program compiler: any node lists and any function strings compile to rows that run, or are
// refused.
#include <algorithm>

#include "functions.h"
#include "fuzz.h"

#include "execute/execute.h"
#include "execute/execute_kernel.h"
#include "execute/pack.h"
#include "programs/compile.h"

namespace {

using namespace pyvqa;
using fuzz::Bytes;
using fuzz::require;

std::vector<std::string> draw_functions(Bytes& in) {
  static const std::vector<std::string> known = fuzz::all_functions();
  std::vector<std::string> functions;
  for (int64_t k = in.below(12); k > 0; --k) {
    std::string name = known[static_cast<size_t>(in.below(static_cast<int64_t>(known.size())))];
    if (in.below(16) == 1) name = in.text(static_cast<size_t>(in.below(24)));
    if (in.below(16) == 1 && !name.empty())
      name[static_cast<size_t>(in.below(static_cast<int64_t>(name.size())))] =
          static_cast<char>(in.byte());
    functions.push_back(name);
  }
  return functions;
}

struct Lists {
  std::vector<int64_t> program_offsets{0}, input_offsets{0};
  std::vector<int32_t> node_functions, inputs;
};

// Mostly ids and inputs that exist, now and then any number.
int32_t draw_id(Bytes& in, int64_t limit) {
  if (limit == 0 || in.below(128) == 1) return in.value<int32_t>();
  return static_cast<int32_t>(in.below(limit));
}

Lists draw_lists(Bytes& in, int64_t functions) {
  Lists lists;
  for (int64_t q = in.below(5); q > 0; --q) {
    const int64_t count = in.below(24);
    for (int64_t i = 0; i < count; ++i) {
      lists.node_functions.push_back(draw_id(in, functions));
      for (int64_t a = i == 0 ? 0 : in.below(3); a > 0; --a) lists.inputs.push_back(draw_id(in, i));
      lists.input_offsets.push_back(static_cast<int64_t>(lists.inputs.size()));
    }
    lists.program_offsets.push_back(static_cast<int64_t>(lists.node_functions.size()));
  }
  return lists;
}

SceneTable two_objects() {
  SceneTable table;
  table.counts = {2};
  table.fields = {kHasPixel | kHasRelations | kHasMasks};
  table.image_index = {0};
  table.image_filename = {""};
  table.scene_visibility = {SceneVisibility::usable};
  table.codes = {2, 10, 12, 15, 2, 11, 12, 16};
  table.position = {0, 1, 0, 1, 0, 0};
  table.pixel = {1, 2, 3, 4, 5, 6};
  table.visibility = {Visibility::fully, Visibility::partially};
  table.relation_offsets = {0, 0, 1, 1, 1, 2, 2, 2, 2};
  table.relation_items = {1, 0};
  return table;
}

void execute(const CompiledPrograms& programs, int64_t rows) {
  static const PackedScenes scene = ScenePacker(two_objects(), 1, RelationSource::stored).pack();
  const std::vector<int64_t> scene_index(static_cast<size_t>(rows), 0);
  const Job job{programs.rows.data(),
                rows,
                programs.length,
                programs.table.data(),
                static_cast<int64_t>(programs.table.size()),
                scene_index.data(),
                reinterpret_cast<const uint64_t*>(scene.words.data()),
                scene.offsets.data(),
                1,
                static_cast<int64_t>(scene.words.size())};
  std::vector<uint8_t> kind(static_cast<size_t>(rows));
  std::vector<int32_t> value(static_cast<size_t>(rows));
  Results results{};
  results.kind = kind.data();
  results.value = value.data();
  execute_rows_base({&job, &results, 1, kRegisters, 4}, 0, rows);
  for (size_t row = 0; row < kind.size(); ++row) {
    const bool error = static_cast<Kind>(kind[row]) == Kind::error;
    const auto reason = static_cast<Reason>(value[row]);
    require(!error || (reason != Reason::no_end && reason != Reason::unknown_token &&
                       reason != Reason::unknown_scene),
            "compiled rows end, know their ids and find their scene");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  const Language language = in.flip() ? Language::clevr : Language::clevr_ref;
  const std::vector<std::string> functions = draw_functions(in);
  const Lists lists = draw_lists(in, static_cast<int64_t>(functions.size()));
  const auto programs = static_cast<int64_t>(lists.program_offsets.size()) - 1;
  const ProgramNodes nodes{
      lists.program_offsets.data(), programs,
      lists.node_functions.data(),  lists.input_offsets.data(),
      lists.inputs.data(),          static_cast<int64_t>(lists.node_functions.size())};
  try {
    const CompiledPrograms out = ProgramCompiler(language, functions, nodes).compile();
    for (const int64_t word : out.table)
      require(checked_instruction(word) == word, "instructions are sound");
    execute(out, programs);
  } catch (const std::invalid_argument&) {  // unknown functions, inputs that are no earlier nodes,
                                            // growth
  }
  return 0;
}
