// Whether a datum, read by Avro's own reader as the reader's schema, is what we have read and written with that schema.
//
// One JSON object a line on standard input: {"writer", "reader", "datum", "ours"}, data in base64, "ours" null where we
// refuse the datum. One line of answer for each: "same", "refused" (by Avro too), or what differs.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

class Agrees {
  // A decimal is its number, not the bytes that it was padded to.
  private static final GenericData DATA = new GenericData();

  static {
    DATA.addLogicalTypeConversion(new Conversions.DecimalConversion());
  }

  public static void main(String[] arguments) throws Exception {
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    var json = new ObjectMapper();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(judge(json.readTree(line)).replace('\n', ' '));
    }
    out.flush();
  }

  private static String judge(JsonNode pair) {
    Schema writer = new Schema.Parser().parse(pair.get("writer").asText());
    Schema reader = new Schema.Parser().parse(pair.get("reader").asText());
    String theirs;
    try {
      theirs = read(writer, reader, pair.get("datum").asText());
    } catch (Exception refused) {
      return pair.get("ours").isNull() ? "refused" : "we read what Avro refuses: " + refused;
    }
    if (pair.get("ours").isNull()) {
      return "we refuse what Avro reads: " + theirs;
    }
    String ours;
    try {
      ours = read(reader, reader, pair.get("ours").asText());
    } catch (Exception unreadable) {
      return "what we have written cannot be read: " + unreadable;
    }
    return theirs.equals(ours) ? "same" : "theirs " + theirs + " ours " + ours;
  }

  private static String read(Schema writer, Schema reader, String base64) throws Exception {
    BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(Base64.getDecoder().decode(base64), null);
    Object value = new GenericDatumReader<Object>(writer, reader, DATA).read(null, decoder);
    if (!decoder.isEnd()) {
      throw new IllegalArgumentException("bytes are left over");
    }
    return DATA.toString(value);
  }
}
