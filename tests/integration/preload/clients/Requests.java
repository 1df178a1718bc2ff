// Java: its HttpClient, HttpURLConnection, a Socket by hand, InetAddress.
// Requests.java PLAN CERTIFICATE WORKERS prints what became of each request.

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Requests {
    static HttpClient client;

    record Step(String kind, String method, String url, int size, int timeout) {
        byte[] body() {
            byte[] body = new byte[size];
            for (int i = 0; i < size; i++) body[i] = (byte) "0123456789abcdef".charAt(i % 16);
            return body;
        }
    }

    static String answered(int status, byte[] body) throws Exception {
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(body);
        return status + " " + body.length + " " + HexFormat.of().formatHex(hash, 0, 8);
    }

    static String withClient(Step step) throws Exception {
        var body = step.size() == 0 ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(step.body());
        var request = HttpRequest.newBuilder(URI.create(step.url())).method(step.method(), body)
            .timeout(Duration.ofMillis(step.timeout())).build();
        var reply = client.send(request, BodyHandlers.ofByteArray());
        return answered(reply.statusCode(), reply.body());
    }

    static String withUrlConnection(Step step) throws Exception {
        var connection = (HttpURLConnection) URI.create(step.url()).toURL().openConnection();
        connection.setConnectTimeout(step.timeout());
        connection.setReadTimeout(step.timeout());
        connection.setRequestMethod(step.method());
        if (step.kind().equals("close")) connection.setRequestProperty("Connection", "close");
        if (step.size() > 0) {
            connection.setDoOutput(true);
            connection.setFixedLengthStreamingMode(step.size());
            try (var out = connection.getOutputStream()) {
                out.write(step.body());
            }
        }
        int status = connection.getResponseCode();
        try (var in = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            return answered(status, in == null ? new byte[0] : in.readAllBytes());
        }
    }

    static String withSocket(Step step) throws Exception {
        var url = URI.create(step.url());
        try (var socket = new Socket()) {
            var address = new InetSocketAddress(url.getHost(), url.getPort());
            if (address.isUnresolved()) throw new UnknownHostException(url.getHost());
            socket.connect(address, step.timeout());
            socket.setSoTimeout(step.timeout());
            var head = step.method() + " " + url.getPath() + " HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
                + "Content-Length: " + step.size() + "\r\n\r\n";
            socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            socket.getOutputStream().write(step.body());
            byte[] all = socket.getInputStream().readAllBytes();
            var text = new String(all, StandardCharsets.ISO_8859_1);
            int end = text.indexOf("\r\n\r\n");
            return "by hand " + text.substring(0, text.indexOf("\r\n")) + " "
                + answered(0, text.substring(end + 4).getBytes(StandardCharsets.ISO_8859_1));
        }
    }

    static String ask(Step step, int number) {
        try {
            if (number % 3 == 0) return withClient(step);
            if (number % 3 == 1 || step.url().startsWith("https:")) return withUrlConnection(step);
            return withSocket(step);
        } catch (Exception error) {
            return "error " + error.getClass().getName();
        }
    }

    static SSLContext trusting(String certificate) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var file = Files.newInputStream(Path.of(certificate))) {
            store.setCertificateEntry("own", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] arguments) throws Exception {
        var trusting = trusting(arguments[1]);
        HttpsURLConnection.setDefaultSSLSocketFactory(trusting.getSocketFactory());
        client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(trusting).build();
        for (var name : new String[] {"partner.example", "missing.example"}) {
            try {
                System.out.println(InetAddress.getByName(name));
            } catch (UnknownHostException error) {
                System.out.println(error.getMessage());
            }
        }
        var pool = Executors.newFixedThreadPool(Integer.parseInt(arguments[2]));
        var asked = new ArrayList<Callable<String>>();
        for (var line : Files.readAllLines(Path.of(arguments[0]))) {
            var words = line.split("\t");
            var step = new Step(words[0], words[1], words[2], Integer.parseInt(words[3]), Integer.parseInt(words[4]));
            int number = asked.size();
            asked.add(() -> ask(step, number));
        }
        for (var answer : pool.invokeAll(asked)) System.out.println(answer.get());
        System.exit(0);
    }
}
