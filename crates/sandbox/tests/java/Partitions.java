// The partition that Kafka's own client gives to a key. One line on standard input for each: partitions, a space, the
// key in base64; one line of answer for each.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Base64;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

class Partitions {
  public static void main(String[] arguments) throws Exception {
    var in = new BufferedReader(new InputStreamReader(System.in));
    var answers = new StringBuilder();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] parts = line.split(" ", -1);
      byte[] key = Base64.getDecoder().decode(parts[1]);
      answers.append(BuiltInPartitioner.partitionForKey(key, Integer.parseInt(parts[0]))).append('\n');
    }
    System.out.print(answers);
  }
}
