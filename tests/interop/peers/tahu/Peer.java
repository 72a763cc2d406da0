// Eclipse Tahu (Java) behind the line protocol of tests/interop/process.py: run as one source file.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Array;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.tahu.edge.EdgeClient;
import org.eclipse.tahu.edge.api.MetricHandler;
import org.eclipse.tahu.host.HostApplication;
import org.eclipse.tahu.host.api.MultiHostApplicationEventHandler;
import org.eclipse.tahu.message.DefaultBdSeqManager;
import org.eclipse.tahu.message.SparkplugBPayloadDecoder;
import org.eclipse.tahu.message.SparkplugBPayloadEncoder;
import org.eclipse.tahu.message.model.DeviceDescriptor;
import org.eclipse.tahu.message.model.EdgeNodeDescriptor;
import org.eclipse.tahu.message.model.Message;
import org.eclipse.tahu.message.model.MessageType;
import org.eclipse.tahu.message.model.Metric;
import org.eclipse.tahu.message.model.MetricDataType;
import org.eclipse.tahu.message.model.SparkplugBPayload;
import org.eclipse.tahu.message.model.SparkplugBPayloadMap;
import org.eclipse.tahu.message.model.SparkplugDescriptor;
import org.eclipse.tahu.message.model.StatePayload;
import org.eclipse.tahu.message.model.Topic;
import org.eclipse.tahu.model.MetricDataTypeMap;
import org.eclipse.tahu.model.MqttServerDefinition;
import org.eclipse.tahu.mqtt.ClientCallback;
import org.eclipse.tahu.mqtt.MqttClientId;
import org.eclipse.tahu.mqtt.MqttServerName;
import org.eclipse.tahu.mqtt.MqttServerUrl;

public class Peer {
  static final ObjectMapper JSON = new ObjectMapper();
  static final MqttServerName SERVER = new MqttServerName("broker");
  static final String SPB = "spBv1.0";
  static final String REBIRTH = "Node Control/Rebirth";

  static synchronized void say(ObjectNode line) {
    System.out.println(line);
    System.out.flush();
  }

  // ── values as text ──

  static Object valueOf(String type, String text) throws Exception {
    if (text == null) return null;
    if (type.endsWith("Array")) {
      JsonNode elements = JSON.readTree(text);
      String of = type.substring(0, type.length() - 5);
      Object array = null;
      for (int i = 0; i < elements.size(); i++) {
        Object element = valueOf(of, elements.get(i).asText());
        if (array == null) array = Array.newInstance(element.getClass(), elements.size());
        Array.set(array, i, element);
      }
      return array;
    }
    switch (type) {
      case "Int8": return Byte.valueOf(text);
      case "Int16": case "UInt8": return Short.valueOf(text);
      case "Int32": case "UInt16": return Integer.valueOf(text);
      case "Int64": case "UInt32": return Long.valueOf(text);
      case "UInt64": return new BigInteger(text);
      case "Float": return Float.valueOf(text);
      case "Double": return Double.valueOf(text);
      case "Boolean": return Boolean.valueOf(text);
      case "DateTime": return new Date(Long.parseLong(text));
      case "Bytes": return HexFormat.of().parseHex(text);
      default: return text;
    }
  }

  static String textOf(Object value) {
    if (value == null) return null;
    if (value instanceof Object[]) {
      ArrayNode list = JSON.createArrayNode();
      for (Object one : (Object[]) value) list.add(textOf(one));
      return list.toString();
    }
    if (value instanceof byte[]) return HexFormat.of().formatHex((byte[]) value);
    if (value instanceof Date) return String.valueOf(((Date) value).getTime());
    return String.valueOf(value);
  }

  static Metric metricOf(JsonNode given, boolean byAlias) throws Exception {
    MetricDataType type = MetricDataType.class.cast(MetricDataType.class.getField(given.get("type").asText()).get(null));
    String text = given.get("value").isNull() ? null : given.get("value").asText();
    Metric.MetricBuilder builder = new Metric.MetricBuilder(given.get("name").asText(), type, valueOf(given.get("type").asText(), text));
    if (given.has("alias")) builder.alias(given.get("alias").asLong());
    if (byAlias && given.has("alias")) builder.name(null);
    return builder.timestamp(new Date(given.get("timestamp").asLong())).createMetric();
  }

  static List<Metric> metricsOf(JsonNode given, boolean byAlias) throws Exception {
    List<Metric> made = new ArrayList<>();
    for (JsonNode metric : given) made.add(metricOf(metric, byAlias));
    return made;
  }

  static List<Metric> bornNow(JsonNode given) throws Exception {
    List<Metric> made = metricsOf(given, false);
    for (Metric metric : made) metric.setTimestamp(new Date());
    return made;
  }

  static ArrayNode told(List<Metric> metrics) {
    ArrayNode list = JSON.createArrayNode();
    if (metrics == null) return list;
    for (Metric metric : metrics) {
      ObjectNode one = list.addObject();
      one.put("name", metric.getName());
      if (metric.hasAlias()) one.put("alias", metric.getAlias()); else one.putNull("alias");
      one.put("type", metric.getDataType() == null ? null : metric.getDataType().toString());
      one.put("null", Boolean.TRUE.equals(metric.isNull()));
      one.put("value", textOf(metric.getValue()));
    }
    return list;
  }

  static MqttServerDefinition server(JsonNode request, String clientId, Topic death) throws Exception {
    MqttServerUrl url = new MqttServerUrl("tcp://127.0.0.1:" + request.get("port").asInt());
    return new MqttServerDefinition(SERVER, new MqttClientId(clientId, false), url, null, null, 30, death);
  }

  // ── as edge node: what the library leaves to the application is done as its own example does it ──

  static class Edge implements MetricHandler, ClientCallback {
    final EdgeNodeDescriptor node;
    final Topic deathTopic;
    final JsonNode metrics;
    final JsonNode devices;
    final CountDownLatch born = new CountDownLatch(1);
    final EdgeClient client;
    final DefaultBdSeqManager bdSeqs;
    long birthBdSeq = 0;

    Edge(JsonNode request) throws Exception {
      System.setProperty("java.io.tmpdir", request.get("folder").asText()); // where its bdSeq manager writes
      bdSeqs = new DefaultBdSeqManager("peer");
      node = new EdgeNodeDescriptor(request.get("group").asText(), request.get("node").asText());
      deathTopic = new Topic(SPB, node, MessageType.NDEATH);
      metrics = request.get("metrics");
      devices = request.get("devices");
      List<String> ids = new ArrayList<>();
      devices.fieldNames().forEachRemaining(ids::add);
      String clientId = node.getGroupId() + "/" + node.getEdgeNodeId();
      List<MqttServerDefinition> servers = List.of(server(request, clientId, deathTopic));
      // Births are due when this host has said that it is online.
      String primaryHost = request.get("primary_host").asText();
      client = new EdgeClient(this, node, ids, primaryHost, true, 0L, servers, this, null);
    }

    public Topic getDeathTopic() {
      return deathTopic;
    }

    public byte[] getDeathPayloadBytes() throws Exception {
      SparkplugBPayload payload = new SparkplugBPayload.SparkplugBPayloadBuilder().setTimestamp(new Date()).createPayload();
      birthBdSeq = bdSeqs.getNextDeathBdSeqNum();
      bdSeqs.storeNextDeathBdSeqNum((birthBdSeq + 1) % 256);
      payload.addMetric(new Metric.MetricBuilder("bdSeq", MetricDataType.Int64, birthBdSeq).createMetric());
      return new SparkplugBPayloadEncoder().getBytes(payload, false);
    }

    public void publishBirthSequence() {
      try {
        SparkplugBPayloadMap.SparkplugBPayloadMapBuilder birth = new SparkplugBPayloadMap.SparkplugBPayloadMapBuilder();
        birth.setTimestamp(new Date());
        birth.addMetric(new Metric.MetricBuilder("bdSeq", MetricDataType.Int64, birthBdSeq).createMetric());
        birth.addMetric(new Metric.MetricBuilder(REBIRTH, MetricDataType.Boolean, false).createMetric());
        client.publishNodeBirth(birth.addMetrics(bornNow(metrics)).createPayload());
        for (Map.Entry<String, JsonNode> device : devices.properties()) {
          SparkplugBPayload payload =
              new SparkplugBPayload.SparkplugBPayloadBuilder().setTimestamp(new Date()).addMetrics(bornNow(device.getValue())).createPayload();
          client.publishDeviceBirth(device.getKey(), payload);
        }
        born.countDown();
      } catch (Exception error) {
        say(JSON.createObjectNode().put("event", "error").put("text", String.valueOf(error)));
      }
    }

    public boolean hasMetric(SparkplugDescriptor descriptor, String name) {
      return true;
    }

    public void messageArrived(MqttServerName name, MqttServerUrl url, MqttClientId id, String topic, MqttMessage message) {
      try {
        if (topic.startsWith(SPB + "/STATE/")) {
          client.handleStateMessage(Topic.parseTopic(topic).getHostApplicationId(), JSON.readValue(message.getPayload(), StatePayload.class));
          return;
        }
        if (!topic.contains("/NCMD/")) return;
        say(JSON.createObjectNode().put("event", "command").put("topic", topic));
        for (Metric metric : new SparkplugBPayloadDecoder().buildFromByteArray(message.getPayload(), null).getMetrics()) {
          if (REBIRTH.equals(metric.getName()) && Boolean.TRUE.equals(metric.getValue())) client.handleRebirthRequest(true);
        }
      } catch (Exception error) {
        say(JSON.createObjectNode().put("event", "error").put("text", String.valueOf(error)));
      }
    }

    public void shutdown() {}

    public void connectionLost(MqttServerName name, MqttServerUrl url, MqttClientId id, Throwable cause) {}

    public void connectComplete(boolean reconnect, MqttServerName name, MqttServerUrl url, MqttClientId id) {}
  }

  // ── as host ──

  static class Host implements MultiHostApplicationEventHandler {
    void message(String type, SparkplugDescriptor from, Message message) {
      ObjectNode line = JSON.createObjectNode().put("event", "message").put("type", type);
      line.put("device", from.isDeviceDescriptor() ? from.getDeviceId() : null);
      line.set("metrics", told(message == null || message.getPayload() == null ? null : message.getPayload().getMetrics()));
      say(line);
    }

    public void onConnect(MqttServerName s) {}
    public void onDisconnect(MqttServerName s) {}
    public void onMessage(MqttServerName s, SparkplugDescriptor d, Message m) {}
    public void onNodeBirthArrived(MqttServerName s, EdgeNodeDescriptor d, Message m) { message("NBIRTH", d, m); }
    public void onNodeBirthComplete(MqttServerName s, EdgeNodeDescriptor d) {}
    public void onNodeDataArrived(MqttServerName s, EdgeNodeDescriptor d, Message m) { message("NDATA", d, m); }
    public void onNodeDataComplete(MqttServerName s, EdgeNodeDescriptor d) {}
    public void onNodeDeath(MqttServerName s, EdgeNodeDescriptor d, Message m) { message("NDEATH", d, m); }
    public void onNodeDeathComplete(MqttServerName s, EdgeNodeDescriptor d) {}
    public void onDeviceBirthArrived(MqttServerName s, DeviceDescriptor d, Message m) { message("DBIRTH", d, m); }
    public void onDeviceBirthComplete(MqttServerName s, DeviceDescriptor d) {}
    public void onDeviceDataArrived(MqttServerName s, DeviceDescriptor d, Message m) { message("DDATA", d, m); }
    public void onDeviceDataComplete(MqttServerName s, DeviceDescriptor d) {}
    public void onDeviceDeath(MqttServerName s, DeviceDescriptor d, Message m) { message("DDEATH", d, m); }
    public void onDeviceDeathComplete(MqttServerName s, DeviceDescriptor d) {}
    public void onBirthMetric(MqttServerName s, SparkplugDescriptor d, Metric m) {}
    public void onDataMetric(MqttServerName s, SparkplugDescriptor d, Metric m) {}
    public void onStale(MqttServerName s, SparkplugDescriptor d, Metric m) {}
  }

  static Edge edge;
  static HostApplication host;

  static JsonNode answer(JsonNode r) throws Exception {
    switch (r.get("do").asText()) {
      case "edge": {
        edge = new Edge(r);
        new Thread(edge.client).start();
        if (!edge.born.await(20, TimeUnit.SECONDS)) throw new Exception("no births were due");
        return null;
      }
      case "data": {
        SparkplugBPayload payload =
            new SparkplugBPayload.SparkplugBPayloadBuilder().setTimestamp(new Date()).addMetrics(metricsOf(r.get("metrics"), false)).createPayload();
        if (r.get("device").isNull()) edge.client.publishNodeData(payload);
        else edge.client.publishDeviceData(r.get("device").asText(), payload);
        return null;
      }
      case "device_death":
        edge.client.publishDeviceDeath(r.get("device").asText());
        return null;
      case "stop":
        edge.client.shutdown();
        return null;
      case "host": {
        String filter = SPB + "/" + r.get("group").asText() + "/#";
        String id = r.get("host_id").asText();
        List<MqttServerDefinition> servers = List.of(server(r, id, null));
        host = new HostApplication(new Host(), id, List.of(filter), servers, null, new SparkplugBPayloadDecoder(), true);
        host.start(true);
        return null;
      }
      case "rebirth": {
        Metric metric = new Metric.MetricBuilder(REBIRTH, MetricDataType.Boolean, true).timestamp(new Date()).createMetric();
        SparkplugBPayload payload =
            new SparkplugBPayload.SparkplugBPayloadBuilder().setTimestamp(new Date()).addMetric(metric).createPayload();
        host.publishCommand(new Topic(SPB, r.get("group").asText(), r.get("node").asText(), MessageType.NCMD), payload);
        return null;
      }
      case "encode": {
        boolean data = r.get("kind").asText().equals("DDATA");
        SparkplugBPayload payload =
            new SparkplugBPayload.SparkplugBPayloadBuilder()
                .setTimestamp(new Date(r.get("timestamp").asLong()))
                .setSeq(r.get("seq").asLong())
                .addMetrics(metricsOf(r.get("metrics"), data))
                .createPayload();
        return JSON.getNodeFactory().textNode(HexFormat.of().formatHex(new SparkplugBPayloadEncoder().getBytes(payload, data)));
      }
      case "decode": {
        MetricDataTypeMap types = new MetricDataTypeMap();
        Map<Long, String> names = new ConcurrentHashMap<>();
        if (r.hasNonNull("birth")) {
          for (Metric m : decode(r.get("birth").asText(), null)) {
            types.addMetricDataType(m.getAlias(), m.getDataType());
            names.put(m.getAlias(), m.getName());
          }
        }
        List<Metric> metrics = decode(r.get("payload").asText(), types);
        for (Metric m : metrics) if (!m.hasName() && m.hasAlias()) m.setName(names.get(m.getAlias()));
        return told(metrics);
      }
      default:
        throw new Exception("the library cannot " + r.get("do").asText());
    }
  }

  static List<Metric> decode(String hex, MetricDataTypeMap types) throws Exception {
    return new SparkplugBPayloadDecoder().buildFromByteArray(HexFormat.of().parseHex(hex), types).getMetrics();
  }

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    say(JSON.createObjectNode().put("ok", "ready"));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      ObjectNode said = JSON.createObjectNode();
      try {
        said.set("ok", answer(JSON.readTree(line)));
      } catch (Throwable error) {
        said.removeAll();
        said.put("error", error.getClass().getSimpleName() + ": " + error.getMessage());
      }
      say(said);
    }
    System.exit(0);
  }
}
