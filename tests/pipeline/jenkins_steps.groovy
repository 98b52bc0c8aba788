// Stand-ins for the steps of Jenkins that a Jenkinsfile of ours calls. What reads and runs the file is real
// Groovy, of the version that Jenkins has; a controller and its plugins are not here.
import org.codehaus.groovy.control.CompilerConfiguration

class Assigned {
    Map held
    void setProperty(String name, Object value) { name == 'held' ? (this.@held = value) : held.put(name, "$value".toString()) }
    Object getProperty(String name) { name == 'env' ? held : held[name] }
}

class Steps {
    Map variables
    Throwable failure

    private Object inside(Closure body, Object delegate = this) {
        body.delegate = delegate
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body()
    }
    Object propertyMissing(String name) { name == 'env' ? variables : name }
    void pipeline(Closure body) { inside(body) }
    void agent(Object where) { println "agent $where" }
    void environment(Closure body) { def one = new Assigned(); one.held = variables; inside(body, one) }
    void stages(Closure body) { inside(body) }
    void stage(String name, Closure body) { if (failure == null) { println "stage $name"; inside(body) } }
    void steps(Closure body) { try { inside(body) } catch (IllegalStateException error) { failure = error } }
    void post(Closure body) { inside(body) }
    void always(Closure body) { inside(body) }
    Map file(Map given) { given }
    Map string(Map given) { given }
    void withCredentials(List bound, Closure body) {
        bound.each { variables.put(it.variable, System.getenv("CREDENTIAL_${it.credentialsId}".toString())) }
        try { inside(body) } finally { bound.each { variables.remove(it.variable) } }
    }
    void junit(Map given) { println "junit ${given.testResults} ${new File(given.testResults).exists()}" }
    void sh(String script) {
        def builder = new ProcessBuilder('/bin/sh', '-xe', '-c', script).inheritIO()
        builder.environment().clear()
        variables.each { name, value -> builder.environment().put(name, value) }
        int code = builder.start().waitFor()
        if (code != 0) { throw new IllegalStateException("script returned exit code $code") }
    }
}

def steps = new Steps()
steps.variables = new HashMap(System.getenv().findAll { !it.key.startsWith('CREDENTIAL_') })
def configuration = new CompilerConfiguration()
configuration.scriptBaseClass = DelegatingScript.name
def script = new GroovyShell(configuration).parse(new File(args[0]))
script.setDelegate(steps)
script.run()
if (steps.failure != null) { println "FAILURE ${steps.failure.message}"; System.exit(1) }
println 'SUCCESS'
