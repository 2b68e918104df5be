// The interpreter: any rows of ids on any scenes end in a value that the scene explains, whatever
// the width of its sets, the size of the ids and the number of registers.
#include "functions.h"
#include "fuzz.h"

#include <string>
#include <vector>

#include "execute/execute.h"
#include "execute/execute_kernel.h"
#include "execute/pack.h"
#include "programs/languages.h"

namespace {

using namespace pyvqa;
using fuzz::Bytes;
using fuzz::require;

struct Table {
  std::vector<int64_t> words;
  int64_t end_id = 0;
  bool clevr = false;
};

// A language's functions, or words nobody made on purpose; the first word ends a program.
Table make_table(Bytes& in) {
  static const std::vector<std::string> functions = fuzz::all_functions();
  Table table;
  table.words.push_back(Instruction{.op = Op::end}.word());
  if (in.below(3) == 0) {
    for (int64_t k = in.below(40); k > 0; --k) {
      int64_t word = in.value<int64_t>();
      if (in.flip()) word = (word & ~int64_t{0xff}) | in.below(static_cast<int>(Op::ops_count));
      if (in.flip()) word &= 0x0000000f0f0f0fff;
      table.words.push_back(checked_instruction(word));
      if ((table.words.back() & 0xff) == static_cast<int64_t>(Op::end)) table.end_id = -1;
    }
    return table;
  }
  table.clevr = in.flip();
  for (const std::string& name : functions) {
    const auto word = instruction(table.clevr ? Language::clevr : Language::clevr_ref, name);
    table.words.push_back(word.value_or(Instruction{}).word());
  }
  return table;
}

int64_t draw_count(Bytes& in, int width) {
  if (in.below(32) < 31) return in.below(12);
  return 64 * width - in.below(64 * width);
}

SceneTable make_scenes(Bytes& in, int width, bool& known) {
  SceneTable table;
  known = in.flip();
  static constexpr int kFirst[] = {2, 10, 12, 15, kKnownStrings};
  const bool pixels = in.flip(), classes = in.flip();
  table.relation_offsets.push_back(0);
  for (int64_t s = 1 + in.below(3); s > 0; --s) {
    const int64_t count = draw_count(in, width);
    table.counts.push_back(static_cast<int32_t>(count));
    table.image_index.push_back(0);
    table.image_filename.emplace_back();
    table.fields.push_back(static_cast<uint8_t>(kHasRelations | (pixels ? kHasPixel : 0)));
    table.scene_visibility.push_back(classes ? static_cast<SceneVisibility>(in.below(3))
                                             : SceneVisibility::unknown);
    for (int64_t o = 0; o < count; ++o) {
      for (int a = 0; a < kAttributes; ++a) {
        const int64_t code = known ? kFirst[a] + in.below(kFirst[a + 1] - kFirst[a]) : in.below(20);
        table.codes.push_back(static_cast<uint16_t>(code));
      }
      for (int k = 0; k < 3; ++k) table.position.push_back(static_cast<double>(in.below(5)) - 2);
      for (int k = 0; pixels && k < 3; ++k) table.pixel.push_back(static_cast<double>(in.below(4)));
      if (classes) table.visibility.push_back(static_cast<Visibility>(in.below(3)));
      for (int r = 0; r < kRelations; ++r) {
        for (int64_t k = in.below(3); k > 0; --k) {
          table.relation_items.push_back(static_cast<int32_t>(in.below(count)));
        }
        table.relation_offsets.push_back(static_cast<int64_t>(table.relation_items.size()));
      }
    }
  }
  table.strings = {"pink", "cone", "tiny"};
  return table;
}

struct Outcome {
  std::vector<uint8_t> kind, trace_kind;
  std::vector<int32_t> value, answer, trace_value;
  std::vector<uint64_t> sets, trace_sets;
};

struct Rows {
  std::vector<int64_t> ids;
  std::vector<int64_t> scene_index;
  int64_t length = 0;
};

// A well-formed, well-typed program in prefix order, drawn from whatever the table offers.
class TypedProgram {
 public:
  TypedProgram(Bytes& in, const Table& table) : in_(in), table_(table) {}

  std::vector<int64_t> draw() {
    write(set_type + static_cast<int>(in_.below(value_type + kAttributes - set_type)), 6);
    ids_.push_back(0);
    return ids_;
  }

 private:
  void write(int type, int depth) {
    std::vector<int64_t> fitting;
    for (size_t id = 0; id < table_.words.size(); ++id) {
      const Signature s = signature_of(id);
      const bool simple =
          s.operands < 2 && s.gives != s.takes && op_of(id) != Op::relate && op_of(id) != Op::same;
      if (s.operands >= 0 && s.gives == type && (depth > 0 || simple))
        fitting.push_back(static_cast<int64_t>(id));
    }
    if (fitting.empty() || ids_.size() > 60) return;
    const int64_t id =
        fitting[static_cast<size_t>(in_.below(static_cast<int64_t>(fitting.size())))];
    ids_.push_back(id);
    const Signature s = signature_of(static_cast<size_t>(id));
    for (int k = 0; k < s.operands; ++k) write(s.takes, depth - 1);
  }

  Op op_of(size_t id) const { return static_cast<Op>(table_.words[id] & 0xff); }
  Signature signature_of(size_t id) const {
    return signature(op_of(id), static_cast<int>(table_.words[id] >> 32 & 0xffff));
  }

  Bytes& in_;
  const Table& table_;
  std::vector<int64_t> ids_;
};

Rows make_rows(Bytes& in, const Table& table, int64_t scenes) {
  Rows rows;
  rows.length = in.below(30);
  const auto known = static_cast<int64_t>(table.words.size());
  for (int64_t row = 1 + in.below(16); row > 0; --row) {
    rows.scene_index.push_back(in.below(16) == 0 ? in.value<int64_t>() : in.below(scenes));
    if (in.flip()) {
      std::vector<int64_t> ids = TypedProgram(in, table).draw();
      ids.resize(static_cast<size_t>(rows.length), 0);
      rows.ids.insert(rows.ids.end(), ids.begin(), ids.end());
      continue;
    }
    const int64_t end = in.below(rows.length + 2);
    for (int64_t k = 0; k < rows.length; ++k) {
      if (k == end) rows.ids.push_back(0);
      else if (in.below(32) == 0) rows.ids.push_back(in.value<int64_t>());
      else rows.ids.push_back(in.below(known));
    }
  }
  return rows;
}

template <class Id>
std::vector<uint8_t> stored(const std::vector<int64_t>& ids) {
  std::vector<uint8_t> raw(ids.size() * sizeof(Id));
  for (size_t k = 0; k < ids.size(); ++k) {
    const Id id = static_cast<Id>(ids[k]);
    std::memcpy(raw.data() + k * sizeof(Id), &id, sizeof(Id));
  }
  return raw;
}

Job make_job(const Rows& rows, const void* ids, const Table& table, const PackedScenes& packed) {
  return {ids,
          static_cast<int64_t>(rows.scene_index.size()),
          rows.length,
          table.words.data(),
          static_cast<int64_t>(table.words.size()),
          rows.scene_index.data(),
          reinterpret_cast<const uint64_t*>(packed.words.data()),
          packed.offsets.data(),
          static_cast<int64_t>(packed.offsets.size()) - 1,
          static_cast<int64_t>(packed.words.size()),
          table.end_id};
}

Outcome run(const Job& job, int width, int registers, int id_bytes) {
  const auto rows = static_cast<size_t>(job.rows), length = static_cast<size_t>(job.length);
  Outcome out;
  out.kind.resize(rows);
  out.trace_kind.resize(rows * length, 255);
  out.value.resize(rows);
  out.answer.resize(rows);
  out.trace_value.resize(rows * length);
  out.sets.resize(rows * 2 * width);
  out.trace_sets.resize(rows * length * 2 * width);
  const std::vector<int32_t> strings(19, 5), integers(11, 6);
  const Results results{out.kind.data(),       out.value.data(),
                        out.answer.data(),     out.sets.data(),
                        strings.data(),        static_cast<int64_t>(strings.size()),
                        integers.data(),       static_cast<int64_t>(integers.size()),
                        out.trace_kind.data(), out.trace_value.data(),
                        out.trace_sets.data()};
  execute_rows_base({&job, &results, width, registers, id_bytes}, 0, job.rows);
  return out;
}

int64_t objects_of(const PackedScenes& packed, int64_t scene) {
  const auto at = static_cast<size_t>(packed.offsets[static_cast<size_t>(scene)]);
  return packed.words[at] & 0xffffffff;
}

bool holds_objects_only(const uint64_t* set, int width, int64_t objects) {
  for (int64_t bit = objects; bit < 64 * width; ++bit) {
    if (set[bit >> 6] >> (bit & 63) & 1) return false;
  }
  return true;
}

void check(const Outcome& out, const Rows& rows, const PackedScenes& packed, int width) {
  for (size_t row = 0; row < rows.scene_index.size(); ++row) {
    const auto kind = static_cast<Kind>(out.kind[row]);
    require(kind >= Kind::error && kind <= Kind::boolean, "a result has a kind");
    if (kind == Kind::error) {
      require(out.value[row] >= 0 && out.value[row] <= 0xffff, "an error has a reason");
      continue;
    }
    const int64_t scene = rows.scene_index[row];
    require(scene >= 0 && scene + 1 < static_cast<int64_t>(packed.offsets.size()),
            "only known scenes give values");
    const int64_t objects = objects_of(packed, scene);
    if (kind == Kind::object) {
      require(out.value[row] >= 0 && out.value[row] < objects, "an object is one of the scene");
    }
    for (int part = 0; part < 2; ++part) {
      const uint64_t* set = out.sets.data() + (2 * row + part) * width;
      require(holds_objects_only(set, width, objects), "a set holds objects of the scene");
    }
  }
}

void check_verdicts(const Job& job, const Outcome& out) {
  std::vector<int8_t> status(static_cast<size_t>(job.rows));
  verify_rows_base({&job, nullptr, 1, 2, 8}, status.data(), 0, job.rows);
  for (size_t row = 0; row < status.size(); ++row) {
    if (status[row] != 0 || static_cast<Kind>(out.kind[row]) != Kind::error) continue;
    const auto reason = static_cast<Reason>(out.value[row]);
    require(reason == Reason::empty_set || reason == Reason::unknown_scene,
            "a program that verifies fails for want of objects only");
  }
}

bool same(const Outcome& a, const Outcome& b) {
  return a.kind == b.kind && a.value == b.value && a.answer == b.answer &&
         a.trace_kind == b.trace_kind && a.trace_value == b.trace_value;
}

// Words that no packer wrote: the interpreter may say anything, but stays inside them.
void run_hostile(Bytes& in, Job job, PackedScenes packed, int width, int registers) {
  if (packed.words.empty()) return;
  for (int64_t k = 1 + in.below(8); k > 0; --k) {
    const auto at = static_cast<size_t>(in.below(static_cast<int64_t>(packed.words.size())));
    packed.words[at] = in.flip() ? in.value<int64_t>() : packed.words[at] ^ in.value<uint8_t>();
  }
  if (in.flip())
    packed.offsets[static_cast<size_t>(in.below(static_cast<int64_t>(packed.offsets.size())))] =
        in.value<int64_t>();
  job.words = reinterpret_cast<const uint64_t*>(packed.words.data());
  job.offsets = packed.offsets.data();
  run(job, width, registers, 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  const int64_t size_class = in.below(32);
  const int width = size_class < 26 ? 1 : size_class < 31 ? 2 : 16;
  const int wider = width == 1 ? 2 : width == 2 ? 16 : 64;
  const Table table = make_table(in);
  bool known = false;
  const SceneTable scenes = make_scenes(in, width, known);
  const RelationSource source = in.flip() ? RelationSource::stored : RelationSource::positions;
  const PackedScenes packed = ScenePacker(scenes, width, source).pack();
  const Rows rows = make_rows(in, table, static_cast<int64_t>(scenes.counts.size()));
  int registers = 2;
  for (const int64_t word : table.words) {
    if (needs_many_registers(word)) registers = kRegisters;
  }
  const Job job = make_job(rows, rows.ids.data(), table, packed);
  const Outcome out = run(job, width, registers, 8);
  check(out, rows, packed, width);
  if (table.clevr && known) check_verdicts(job, out);
  require(same(out, run(job, width, kRegisters, 8)), "more registers change nothing");
  const PackedScenes wide = ScenePacker(scenes, wider, source).pack();
  require(same(out, run(make_job(rows, rows.ids.data(), table, wide), wider, registers, 8)),
          "wider sets change nothing");
  const std::vector<uint8_t> bytes = stored<uint8_t>(rows.ids), shorts = stored<int16_t>(rows.ids),
                             ints = stored<int32_t>(rows.ids);
  run(make_job(rows, bytes.data(), table, packed), width, registers, 1);
  run(make_job(rows, shorts.data(), table, packed), width, registers, 2);
  run(make_job(rows, ints.data(), table, packed), width, registers, 4);
  run_hostile(in, job, packed, width, registers);
  return 0;
}
